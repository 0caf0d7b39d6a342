# The static library `rigi_exec`: what instructions do to data. The kernels are compiled once per instruction set.
#
# -ffp-contract=off: every operation rounds by itself, so all instruction sets give the same bits. Never -ffast-math.
set(RIGI_EXEC_DIR ${CMAKE_CURRENT_LIST_DIR})
set(RIGI_EXEC_FLAGS -O3 -ffp-contract=off -fno-math-errno)
if(RIGI_SANITIZE)
  list(APPEND RIGI_EXEC_FLAGS -O1)  # full optimization of instrumented vector code takes GCC minutes a file
endif()

add_library(rigi_exec STATIC)
target_sources(rigi_exec PRIVATE ${RIGI_EXEC_DIR}/exec.cpp ${RIGI_EXEC_DIR}/move.cpp ${RIGI_EXEC_DIR}/names.cpp ${RIGI_EXEC_DIR}/table.cpp)
target_include_directories(rigi_exec PUBLIC ${RIGI_EXEC_DIR}/../../include)
target_compile_features(rigi_exec PUBLIC cxx_std_20)
set_target_properties(rigi_exec PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)

function(rigi_exec_isa isa)
  set(name rigi_exec_${isa})
  add_library(${name} OBJECT ${RIGI_EXEC_DIR}/mma.cpp ${RIGI_EXEC_DIR}/elementwise.cpp ${RIGI_EXEC_DIR}/reduce.cpp
              ${RIGI_EXEC_DIR}/topk.cpp ${RIGI_EXEC_DIR}/transpose.cpp ${RIGI_EXEC_DIR}/act.cpp)
  string(TOUPPER ${isa} upper)
  target_compile_definitions(${name} PRIVATE RIGI_ISA_NS=${isa} RIGI_ISA_${upper})
  target_compile_options(${name} PRIVATE ${RIGI_EXEC_FLAGS} ${ARGN})
  # Vectors are passed only to inlined functions, so how a call would pass them is of no interest.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-psabi>)
  # GCC 12 takes the deliberately undefined registers of its own AVX-512 header for mistakes.
  target_compile_options(${name} PRIVATE "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>")
  target_include_directories(${name} PRIVATE ${RIGI_EXEC_DIR}/../../include)
  target_compile_features(${name} PRIVATE cxx_std_20)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
  target_sources(rigi_exec PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()

rigi_exec_isa(portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  rigi_exec_isa(avx2 -mavx2 -mfma -mf16c)
  rigi_exec_isa(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c)
  target_compile_definitions(rigi_exec PRIVATE RIGI_HAVE_X86_KERNELS)
endif()
