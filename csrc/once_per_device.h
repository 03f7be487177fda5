// What is set once per device and kept, whichever thread comes first.
#pragma once

#include <mutex>
#include <set>

namespace modnas_fast {

class OncePerDevice {
 public:
  /// Calls `set`, which returns an error code, on a device's first use; other threads wait for it. What failed is
  /// tried again by the next call. Returns that code, 0 where it is done.
  template <typename Set>
  int operator()(int device, const Set& set) {
    const std::lock_guard<std::mutex> alone(mutex_);
    if (done_.count(device) != 0) return 0;
    const int error = set();
    if (error == 0) done_.insert(device);
    return error;
  }

 private:
  std::mutex mutex_;
  std::set<int> done_;
};

}  // namespace modnas_fast
