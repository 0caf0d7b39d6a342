"""Built-in user messages: the demo's, and twenty varied ones for measuring accuracy."""

DEMO = (
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about a mountain in the morning.",
    "Give three tips for learning to play the piano.",
)

VARIED = (
    "What is gravity? Explain it to a ten-year-old.",
    "Write a short story about a lighthouse keeper who finds a message in a bottle.",
    "Explain the difference between a list and a tuple in Python, with an example.",
    "Give me a simple recipe for tomato soup, step by step.",
    "Describe how photosynthesis works and why it matters for life on Earth.",
    "Write a polite e-mail asking my landlord to repair the heating.",
    "What were the main causes of the First World War?",
    "List the planets of the solar system with one fact about each.",
    "Write a poem about rain falling on a quiet street.",
    "How does a refrigerator keep food cold?",
    "Summarize the plot of Romeo and Juliet.",
    "Write a Python function that returns the n-th Fibonacci number, and explain it.",
    "What are the benefits and the risks of regular exercise?",
    "Plan a three-day trip to Rome for a family with two children.",
    "Explain what inflation is and how it affects savings.",
    "Describe the water cycle in detail.",
    "A train leaves at 9:15 and travels 180 km at 90 km/h. When does it arrive? Show the steps.",
    "What is the difference between weather and climate?",
    "Write a dialogue between a cat and a dog about who rules the house.",
    "How do vaccines train the immune system?",
)
