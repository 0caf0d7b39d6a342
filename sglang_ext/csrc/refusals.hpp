// What the chip has not, said where it is asked for.
#pragma once

#include <string>

namespace rigi_torch {

/// Makes a backward through `rigi::<name>` an error, where torch by itself would leave the gradients out.
void refuse_backward(const std::string& name);

}  // namespace rigi_torch
