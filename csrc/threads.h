// Work shared among threads that live for one call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace modnas_fast {

/// work(worker, task) for every task in [0, tasks), each once, on at most `threads` threads of which the caller
/// is worker 0. Tasks are taken in order by whoever is free. Nothing is left running afterwards, so that a
/// process may fork, and idle threads of torch's own pool stay asleep. Rethrows what a task threw first.
template <typename Work>
void share(std::int64_t tasks, int threads, const Work& work) {
  const int workers = static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(threads, tasks)));
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;
  const auto run = [&](int worker) {
    try {
      for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) work(worker, task);
    } catch (...) {
      next.store(tasks, std::memory_order_relaxed);
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(workers - 1);
  for (int worker = 1; worker < workers; ++worker) {
    try {
      helpers.emplace_back(run, worker);
    } catch (const std::system_error&) {
      break;  // the system has no more threads: those that there are do all the work
    }
  }
  run(0);
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace modnas_fast
