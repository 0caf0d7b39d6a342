OPS={}
