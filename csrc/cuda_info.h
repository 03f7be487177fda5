// What the CUDA runtime says about itself and the driver; a guard for the current device.
#pragma once

namespace modnas_fast {

/// Version of the CUDA runtime linked into the core, as 1000 * major + 10 * minor.
int cuda_runtime_version();
/// Latest CUDA version that the installed driver supports, likewise; 0 without a driver.
int cuda_driver_version();
/// The text of a cudaError_t.
const char* cuda_error_text(int error);

/// Makes a device current and restores the previous one at the end of its scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  int error() const { return error_; }

 private:
  int previous_ = -1;
  int error_ = 0;
};

}  // namespace modnas_fast
