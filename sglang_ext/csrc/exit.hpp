// What has to be over before Python finalizes.
#pragma once

namespace rigi_torch {

/// Waits until autograd's worker threads of the chips have let go of the graphs they worked on. A worker ends a graph after the thread that
/// called backward() goes on; it then drops tensors that Python holds too, for which it takes the GIL. A thread that asks for the GIL while
/// Python finalizes is ended inside C++, which aborts the process. Call at exit, without the GIL.
void wait_for_autograd();

}  // namespace rigi_torch
