// The Python module modnas_fast._C: checks, pointers in, numbers out. Tensors arrive as addresses, so that
// the module does not depend on any version of torch; modnas_fast.mgd.min_norm checks shapes, types and
// devices.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu_features.h"
#include "elastic_depthwise/cpu.h"
#include "gramian/cpu.h"
#include "min_norm/cpu.h"
#include "norm_activation/cpu.h"
#include "threads.h"
#ifdef MODNAS_FAST_WITH_CUDA
#include "cuda_info.h"
#include "min_norm/cuda.h"
#endif

namespace py = pybind11;
namespace ed = modnas_fast::elastic_depthwise;
namespace gr = modnas_fast::gramian;
namespace mn = modnas_fast::min_norm;
namespace na = modnas_fast::norm_activation;
using Address = std::uintptr_t;
using Addresses = std::vector<Address>;

namespace {

/// Grows with every change of a function's name or arguments; modnas_fast.runtime.implementations asks for the same number.
constexpr int interface_number = 3;

template <typename T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

mn::Method method_named(const std::string& name) {
  if (name == "exact") return mn::Method::exact;
  if (name == "frank_wolfe") return mn::Method::frank_wolfe;
  if (name == "away") return mn::Method::away;
  if (name == "pairwise") return mn::Method::pairwise;
  throw std::invalid_argument("method must be 'exact', 'frank_wolfe', 'away' or 'pairwise', not '" + name + "'");
}

void check_sizes(std::int64_t batch, std::int64_t size, std::int64_t max_iter) {
  if (batch < 0) throw std::invalid_argument("batch must not be negative");
  if (size < 1 || size > 32768) throw std::invalid_argument("size must be 1 to 32768");
  if (max_iter < 0 || max_iter > std::numeric_limits<int>::max())
    throw std::invalid_argument("max_iter must be 0 to 2147483647");
}

mn::Options options_of(const std::string& method, double tol, std::int64_t max_iter, double asymmetry,
                       bool skip_nonfinite, bool ignore_zeros) {
  mn::Options options;
  options.method = method_named(method);
  options.tol = tol;
  options.max_iter = static_cast<int>(max_iter);
  options.asymmetry = asymmetry;
  options.skip_nonfinite = skip_nonfinite;
  options.ignore_zeros = ignore_zeros;
  return options;
}

/// Returns None, or (problem, row, status) of the first problem that was refused.
py::object min_norm_cpu(const std::string& method, bool single, Address gramian, std::int64_t batch,
                        std::int64_t size, double tol, std::int64_t max_iter, double asymmetry,
                        bool skip_nonfinite, bool ignore_zeros, int threads, Address weights,
                        Address squared_norm, Address gap, Address iterations, Address status) {
  check_sizes(batch, size, max_iter);
  const mn::Options options = options_of(method, tol, max_iter, asymmetry, skip_nonfinite, ignore_zeros);
  const int n = static_cast<int>(size);
  std::int8_t* const statuses = pointer<std::int8_t>(status);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(batch));
  std::int64_t refused = batch;
  {
    const py::gil_scoped_release released;
    if (single) {
      mn::solve_cpu(options, pointer<const float>(gramian), batch, n, threads,
                    mn::Answers<float>{pointer<float>(weights), pointer<float>(squared_norm), pointer<float>(gap),
                                       pointer<std::int64_t>(iterations), statuses, rows.data()});
    } else {
      mn::solve_cpu(options, pointer<const double>(gramian), batch, n, threads,
                    mn::Answers<double>{pointer<double>(weights), pointer<double>(squared_norm),
                                        pointer<double>(gap), pointer<std::int64_t>(iterations), statuses,
                                        rows.data()});
    }
    const auto is_refused = [](std::int8_t s) { return s >= static_cast<std::int8_t>(mn::Status::nonfinite); };
    refused = std::find_if(statuses, statuses + batch, is_refused) - statuses;
  }
  if (refused == batch) return py::none();
  return py::make_tuple(refused, rows[static_cast<std::size_t>(refused)], statuses[refused]);
}

/// addresses[p * count + t] is row t of piece p, 0 for a row of zeros.
std::vector<gr::Piece> pieces_of(const Addresses& addresses, const std::vector<std::int64_t>& lengths,
                                 const std::vector<int>& types, std::int64_t count) {
  if (count < 1 || count > 32768) throw std::invalid_argument("count must be 1 to 32768");
  const auto size = static_cast<std::size_t>(count);
  if (addresses.size() != lengths.size() * size || types.size() != lengths.size())
    throw std::invalid_argument("addresses, lengths and types do not agree");
  std::vector<gr::Piece> pieces(lengths.size());
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    if (types[p] < 0 || types[p] > static_cast<int>(gr::Type::bfloat16) || lengths[p] < 0)
      throw std::invalid_argument("a type or length is out of range");
    pieces[p].length = lengths[p];
    pieces[p].type = static_cast<gr::Type>(types[p]);
    pieces[p].rows.resize(size);
    for (std::size_t t = 0; t < size; ++t) pieces[p].rows[t] = pointer<const void>(addresses[p * size + t]);
  }
  return pieces;
}

void gramian_cpu(const Addresses& addresses, const std::vector<std::int64_t>& lengths,
                 const std::vector<int>& types, std::int64_t count, int threads, Address gram) {
  const std::vector<gr::Piece> pieces = pieces_of(addresses, lengths, types, count);
  const py::gil_scoped_release released;
  gr::gramian_cpu(pieces, static_cast<int>(count), threads, pointer<double>(gram));
}

void combine_cpu(const Addresses& addresses, const std::vector<std::int64_t>& lengths,
                 const std::vector<int>& types, Address weights, std::int64_t count, int threads,
                 const Addresses& out) {
  const std::vector<gr::Piece> pieces = pieces_of(addresses, lengths, types, count);
  if (out.size() != pieces.size()) throw std::invalid_argument("out must hold one address per piece");
  std::vector<void*> targets;
  for (const Address address : out) targets.push_back(pointer<void>(address));
  const py::gil_scoped_release released;
  gr::combine_cpu(pieces, pointer<const double>(weights), static_cast<int>(count), threads, targets);
}

/// The pieces of batch entry b of a matrix [batch, count, length] with strides in bytes.
std::vector<gr::Piece> matrix_of(Address matrix, int type, std::int64_t count, std::int64_t length,
                                 std::int64_t row_stride) {
  gr::Piece piece;
  piece.length = length;
  piece.type = static_cast<gr::Type>(type);
  for (std::int64_t t = 0; t < count; ++t)
    piece.rows.push_back(pointer<const char>(matrix) + t * row_stride);
  return {piece};
}

void check_matrix(int type, std::int64_t batch, std::int64_t count, std::int64_t length) {
  if (type < 0 || type > static_cast<int>(gr::Type::bfloat16) || batch < 0 || count < 1 || count > 32768 || length < 0)
    throw std::invalid_argument("a type or size is out of range");
}

void gramian_matrix_cpu(Address matrix, int type, std::int64_t batch, std::int64_t count, std::int64_t length,
                        std::int64_t batch_stride, std::int64_t row_stride, int threads, Address gram) {
  check_matrix(type, batch, count, length);
  const py::gil_scoped_release released;
  const int inner = batch > 1 ? 1 : threads;
  modnas_fast::share(batch, batch > 1 ? threads : 1, [&](int, std::int64_t b) {
    gr::gramian_cpu(matrix_of(matrix + b * batch_stride, type, count, length, row_stride), static_cast<int>(count),
                    inner, pointer<double>(gram) + b * count * count);
  });
}

void combine_matrix_cpu(Address matrix, int type, Address weights, std::int64_t batch, std::int64_t count,
                        std::int64_t length, std::int64_t batch_stride, std::int64_t row_stride, int threads,
                        Address out, std::int64_t out_stride) {
  check_matrix(type, batch, count, length);
  const py::gil_scoped_release released;
  const int inner = batch > 1 ? 1 : threads;
  modnas_fast::share(batch, batch > 1 ? threads : 1, [&](int, std::int64_t b) {
    gr::combine_cpu(matrix_of(matrix + b * batch_stride, type, count, length, row_stride),
                    pointer<const double>(weights) + b * count, static_cast<int>(count), inner,
                    {pointer<char>(out) + b * out_stride});
  });
}

/// images, height, width, channels, kernel (0: no convolution), stride
using Sizes = std::array<std::int64_t, 6>;

ed::Shape shape_of(const Sizes& sizes) {
  const auto [images, height, width, channels, kernel, stride] = sizes;
  if (images < 1 || height < 1 || width < 1 || channels < 1) throw std::invalid_argument("a size is less than 1");
  if ((kernel != 0 && kernel != 3 && kernel != 5 && kernel != 7) || (stride != 1 && stride != 2))
    throw std::invalid_argument("kernel must be 0, 3, 5 or 7, and stride 1 or 2");
  return {height, width, channels, static_cast<int>(kernel), static_cast<int>(stride)};
}

template <typename T>
na::Norm<T> norm_of(const Sizes& sizes, const ed::Shape& shape, int activation, double eps, bool given, Address scale,
                    Address shift, Address mean, Address variance) {
  if (activation < 0 || activation > static_cast<int>(na::Activation::hardswish))
    throw std::invalid_argument("activation must be 0, 1 or 2");
  return {sizes[0] * shape.out_height() * shape.out_width(), shape.channels, static_cast<na::Activation>(activation),
          eps, given, pointer<const T>(scale), pointer<const T>(shift), pointer<T>(mean), pointer<T>(variance)};
}

template <typename T>
void block_forward(const Sizes& sizes, int activation, double eps, bool given, Address x, Address taps, Address scale,
                   Address shift, Address residual, int threads, Address mean, Address variance, Address z, Address y) {
  const ed::Shape shape = shape_of(sizes);
  const na::Norm<T> norm = norm_of<T>(sizes, shape, activation, eps, given, scale, shift, mean, variance);
  const py::gil_scoped_release released;
  if (shape.kernel == 0) {
    na::forward_cpu<T>(norm, pointer<const T>(x), pointer<const T>(residual), threads, pointer<T>(y));
  } else {
    ed::forward_cpu<T>(shape, sizes[0], norm, pointer<const T>(x), pointer<const T>(taps), threads, pointer<T>(z),
                       pointer<T>(y));
  }
}

template <typename T>
void block_backward(const Sizes& sizes, int activation, double eps, bool given, Address dy, Address x, Address taps,
                    Address scale, Address shift, Address mean, Address variance, Address z, int threads, Address dx,
                    Address dtaps, Address dscale, Address dshift) {
  const ed::Shape shape = shape_of(sizes);
  const na::Norm<T> norm = norm_of<T>(sizes, shape, activation, eps, given, scale, shift, mean, variance);
  const py::gil_scoped_release released;
  if (shape.kernel == 0) {
    na::backward_cpu<T>(norm, pointer<const T>(dy), pointer<const T>(x), threads, pointer<T>(dx), pointer<T>(dscale),
                        pointer<T>(dshift));
  } else {
    ed::backward_cpu<T>(shape, sizes[0], norm, pointer<const T>(dy), pointer<const T>(x), pointer<const T>(taps),
                        pointer<const T>(z), threads, pointer<T>(dx), pointer<T>(dtaps), pointer<T>(dscale),
                        pointer<T>(dshift));
  }
}

/// block_forward_float and so on.
template <typename T>
void define_block(py::module_& module, const std::string& type) {
  module.def(("block_forward_" + type).c_str(), &block_forward<T>, py::arg("sizes"), py::arg("activation"),
             py::arg("eps"), py::arg("given"), py::arg("x"), py::arg("taps"), py::arg("scale"), py::arg("shift"),
             py::arg("residual"), py::arg("threads"), py::arg("mean"), py::arg("variance"), py::arg("z"), py::arg("y"),
             "Depth-wise convolution (kernel 0: none), batch normalisation and activation, channels last.");
  module.def(("block_backward_" + type).c_str(), &block_backward<T>, py::arg("sizes"), py::arg("activation"),
             py::arg("eps"), py::arg("given"), py::arg("dy"), py::arg("x"), py::arg("taps"), py::arg("scale"),
             py::arg("shift"), py::arg("mean"), py::arg("variance"), py::arg("z"), py::arg("threads"), py::arg("dx"),
             py::arg("dtaps"), py::arg("dscale"), py::arg("dshift"),
             "The gradients of block_forward; an address of 0: not wanted.");
}

#ifdef MODNAS_FAST_WITH_CUDA
void min_norm_cuda(const std::string& method, bool single, Address gramian, std::int64_t batch,
                   std::int64_t size, double tol, std::int64_t max_iter, double asymmetry, bool skip_nonfinite,
                   bool ignore_zeros, Address memory, std::int64_t workers, Address weights,
                   Address squared_norm, Address gap, Address iterations, Address status, Address row,
                   int device, Address stream) {
  check_sizes(batch, size, max_iter);
  const mn::Options options = options_of(method, tol, max_iter, asymmetry, skip_nonfinite, ignore_zeros);
  const int n = static_cast<int>(size);
  std::int8_t* const statuses = pointer<std::int8_t>(status);
  std::int32_t* const rows = pointer<std::int32_t>(row);
  int error = 0;
  {
    const py::gil_scoped_release released;
    error = single ? mn::solve_cuda(options, pointer<const float>(gramian), batch, n, pointer<void>(memory), workers,
                                    mn::Answers<float>{pointer<float>(weights), pointer<float>(squared_norm),
                                                       pointer<float>(gap), pointer<std::int64_t>(iterations),
                                                       statuses, rows},
                                    device, pointer<void>(stream))
                   : mn::solve_cuda(options, pointer<const double>(gramian), batch, n, pointer<void>(memory), workers,
                                    mn::Answers<double>{pointer<double>(weights), pointer<double>(squared_norm),
                                                        pointer<double>(gap), pointer<std::int64_t>(iterations),
                                                        statuses, rows},
                                    device, pointer<void>(stream));
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
  info["instruction_set"] = modnas_fast::instruction_set_name();
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
  module.attr("INTERFACE") = interface_number;
  module.def("build_info", &build_info, "How this module was built.");
  module.def("min_norm_cpu", &min_norm_cpu, py::arg("method"), py::arg("single"), py::arg("gramian"),
             py::arg("batch"), py::arg("size"), py::arg("tol"), py::arg("max_iter"), py::arg("asymmetry"),
             py::arg("skip_nonfinite"), py::arg("ignore_zeros"), py::arg("threads"), py::arg("weights"),
             py::arg("squared_norm"), py::arg("gap"), py::arg("iterations"), py::arg("status"),
             "Min-norm weights of a batch of Gramians in CPU memory; the first refused problem, or None.");
  module.def(
      "lend_team",
      [](Address start) { modnas_fast::lend_team(reinterpret_cast<modnas_fast::StartTeam>(start)); },
      py::arg("start"), "Has the address of a GOMP_parallel start the threads; 0: threads of its own for each call.");
  module.def("gramian_cpu", &gramian_cpu, py::arg("addresses"), py::arg("lengths"), py::arg("types"),
             py::arg("count"), py::arg("threads"), py::arg("gram"), "The Gramian of rows in CPU memory.");
  module.def("combine_cpu", &combine_cpu, py::arg("addresses"), py::arg("lengths"), py::arg("types"),
             py::arg("weights"), py::arg("count"), py::arg("threads"), py::arg("out"),
             "The weighted sum of rows in CPU memory.");
  module.def("gramian_matrix_cpu", &gramian_matrix_cpu, py::arg("matrix"), py::arg("type"), py::arg("batch"),
             py::arg("count"), py::arg("length"), py::arg("batch_stride"), py::arg("row_stride"),
             py::arg("threads"), py::arg("gram"), "The Gramian of each matrix of a batch; strides in bytes.");
  module.def("combine_matrix_cpu", &combine_matrix_cpu, py::arg("matrix"), py::arg("type"), py::arg("weights"),
             py::arg("batch"), py::arg("count"), py::arg("length"), py::arg("batch_stride"),
             py::arg("row_stride"), py::arg("threads"), py::arg("out"), py::arg("out_stride"),
             "The weighted sum of the rows of each matrix of a batch; strides in bytes.");
  define_block<float>(module, "float32");
  define_block<double>(module, "float64");
#ifdef MODNAS_FAST_WITH_CUDA
  module.def("cuda_driver_version", &modnas_fast::cuda_driver_version,
             "CUDA version of the driver as 1000 * major + 10 * minor; 0 without a driver.");
  module.def(
      "min_norm_cuda_workspace",
      [](std::int64_t batch, std::int64_t size, int device) {
        check_sizes(batch, size, 0);
        const mn::Workspace need = mn::workspace_cuda(batch, static_cast<int>(size), device);
        return py::make_tuple(need.workers, need.bytes);
      },
      py::arg("batch"), py::arg("size"), py::arg("device"),
      "Warps that min_norm_cuda starts, and the bytes of device memory that they need together.");
  module.def("min_norm_cuda", &min_norm_cuda, py::arg("method"), py::arg("single"), py::arg("gramian"),
             py::arg("batch"), py::arg("size"), py::arg("tol"), py::arg("max_iter"), py::arg("asymmetry"),
             py::arg("skip_nonfinite"), py::arg("ignore_zeros"), py::arg("memory"), py::arg("workers"),
             py::arg("weights"), py::arg("squared_norm"), py::arg("gap"), py::arg("iterations"),
             py::arg("status"), py::arg("row"), py::arg("device"), py::arg("stream"),
             "Enqueues min-norm problems in device memory on a CUDA stream.");
#endif
}
