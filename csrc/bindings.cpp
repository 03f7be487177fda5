// The Python module modnas_fast._C: checks, pointers in, numbers out. Tensors arrive as addresses, so that
// the module does not depend on any version of torch; modnas_fast.mgd.min_norm checks shapes, types and
// devices.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "min_norm/cpu.h"
#ifdef MODNAS_FAST_WITH_CUDA
#include "cuda_info.h"
#include "min_norm/cuda.h"
#endif

namespace py = pybind11;
namespace mn = modnas_fast::min_norm;
using Address = std::uintptr_t;

namespace {

template <typename T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

mn::Method method_named(const std::string& name) {
  if (name == "exact") return mn::Method::exact;
  if (name == "frank_wolfe") return mn::Method::frank_wolfe;
  throw std::invalid_argument("method must be 'exact' or 'frank_wolfe', not '" + name + "'");
}

void check_sizes(std::int64_t batch, std::int64_t size, std::int64_t max_iter) {
  if (batch < 0) throw std::invalid_argument("batch must not be negative");
  if (size < 1 || size > 32768) throw std::invalid_argument("size must be 1 to 32768");
  if (max_iter < 0 || max_iter > std::numeric_limits<int>::max())
    throw std::invalid_argument("max_iter must be 0 to 2147483647");
}

void min_norm_cpu(const std::string& method, bool single, Address gramian, std::int64_t batch,
                  std::int64_t size, double tol, std::int64_t max_iter, Address weights, Address squared_norm,
                  Address gap, Address iterations) {
  const mn::Method chosen = method_named(method);
  check_sizes(batch, size, max_iter);
  const int n = static_cast<int>(size), limit = static_cast<int>(max_iter);
  const py::gil_scoped_release released;
  if (single) {
    mn::solve_cpu(chosen, pointer<const float>(gramian), batch, n, tol, limit, pointer<float>(weights),
                  pointer<float>(squared_norm), pointer<float>(gap), pointer<std::int64_t>(iterations));
  } else {
    mn::solve_cpu(chosen, pointer<const double>(gramian), batch, n, tol, limit, pointer<double>(weights),
                  pointer<double>(squared_norm), pointer<double>(gap), pointer<std::int64_t>(iterations));
  }
}

#ifdef MODNAS_FAST_WITH_CUDA
void min_norm_cuda(const std::string& method, bool single, Address gramian, std::int64_t batch,
                   std::int64_t size, double tol, std::int64_t max_iter, Address memory, Address weights,
                   Address squared_norm, Address gap, Address iterations, int device, Address stream) {
  const mn::Method chosen = method_named(method);
  check_sizes(batch, size, max_iter);
  const int n = static_cast<int>(size), limit = static_cast<int>(max_iter);
  int error = 0;
  {
    const py::gil_scoped_release released;
    error = single ? mn::solve_cuda(chosen, pointer<const float>(gramian), batch, n, tol, limit,
                                    pointer<void>(memory), pointer<float>(weights),
                                    pointer<float>(squared_norm), pointer<float>(gap),
                                    pointer<std::int64_t>(iterations), device, pointer<void>(stream))
                   : mn::solve_cuda(chosen, pointer<const double>(gramian), batch, n, tol, limit,
                                    pointer<void>(memory), pointer<double>(weights),
                                    pointer<double>(squared_norm), pointer<double>(gap),
                                    pointer<std::int64_t>(iterations), device, pointer<void>(stream));
  }
  if (error != 0)
    throw std::runtime_error(std::string("the CUDA kernel of min_norm did not start: ") +
                             modnas_fast::cuda_error_text(error));
}
#endif

/// How this module was built, for `modnas-fast doctor`.
py::dict build_info() {
  py::dict info;
  info["version"] = MODNAS_FAST_VERSION;
  info["compiler"] = MODNAS_FAST_COMPILER;
#ifdef MODNAS_FAST_WITH_CUDA
  info["cuda_runtime"] = modnas_fast::cuda_runtime_version();
  info["cuda_architectures"] = MODNAS_FAST_CUDA_ARCHITECTURES;
  info["without_cuda"] = py::none();
#else
  info["cuda_runtime"] = py::none();
  info["cuda_architectures"] = py::none();
  info["without_cuda"] = MODNAS_FAST_WITHOUT_CUDA;
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "The compiled core of modnas_fast.";
  module.def("build_info", &build_info, "How this module was built.");
  module.def("min_norm_cpu", &min_norm_cpu, py::arg("method"), py::arg("single"), py::arg("gramian"),
             py::arg("batch"), py::arg("size"), py::arg("tol"), py::arg("max_iter"), py::arg("weights"),
             py::arg("squared_norm"), py::arg("gap"), py::arg("iterations"),
             "Min-norm weights of a batch of Gramians in CPU memory.");
#ifdef MODNAS_FAST_WITH_CUDA
  module.def("cuda_driver_version", &modnas_fast::cuda_driver_version,
             "CUDA version of the driver as 1000 * major + 10 * minor; 0 without a driver.");
  module.def(
      "min_norm_workspace_bytes",
      [](std::int64_t size) {
        check_sizes(0, size, 0);
        return mn::workspace_bytes(static_cast<std::size_t>(size));
      },
      py::arg("size"), "Bytes of device memory per problem for min_norm_cuda.");
  module.def("min_norm_cuda", &min_norm_cuda, py::arg("method"), py::arg("single"), py::arg("gramian"),
             py::arg("batch"), py::arg("size"), py::arg("tol"), py::arg("max_iter"), py::arg("memory"),
             py::arg("weights"), py::arg("squared_norm"), py::arg("gap"), py::arg("iterations"),
             py::arg("device"), py::arg("stream"),
             "Enqueues min-norm problems in device memory on a CUDA stream.");
#endif
}
