// The API under 50 clients while a sweep writes: the time of a request as its clients see it.

#include <benchmark/benchmark.h>
#include <httplib.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "common/coordinator_file.h"
#include "common/messages.h"
#include "common/transport.h"
#include "coordinator/server.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kClients = 50;
constexpr const char* kSpec =
    "name: bench\nsweep: {search: random, trials: 1000, parameters: {train.lr: {uniform: [1.0e-4, 0.1]}}}\n";

/// A coordinator in this process, and a gang that reports 64 points every 5 ms, as some dozen gangs that train would.
class Service {
 public:
  Service() {
    options_.data = fs::temp_directory_path().string() + "/hivq_http_bench_" + std::to_string(getpid());
    options_.listen = "tcp://127.0.0.1:0";
    options_.reserve_bytes = 0;
    server_ = std::thread([this] { (void)serve(options_, stop_, log_); });
    while (!live_coordinator(options_.data)) std::this_thread::sleep_for(10ms);
    const CoordinatorFile file = *live_coordinator(options_.data);
    http_ = file.http;
    httplib::Client(http_).Post("/api/v1/jobs", kSpec, "application/yaml");
    writer_ = std::thread([this, endpoint = file.endpoint] { write(endpoint); });
    while (written_ < 10) std::this_thread::sleep_for(10ms);
  }
  ~Service() {
    stop_ = true;
    writer_.join();
    server_.join();
    fs::remove_all(options_.data);
  }
  const std::string& http() const { return http_; }

 private:
  void write(const std::string& endpoint) {
    const std::string id = "00000000000000bb";
    auto dealer = std::move(Dealer::connect(endpoint, id).value());
    dealer.send(encode({0, Hello{id, "box", "1 CPU rank", "", "bench", 1, 7, 0}}));
    std::optional<Lease> lease;
    uint64_t first = 1;
    for (int64_t step = 1; !stop_; ++step) {
      if (step % 100 == 1) dealer.send(encode({0, Heartbeat{id, {}}}));
      while (auto received = dealer.receive(lease ? 0ms : 50ms)) {
        auto message = decode(*received);
        if (auto* assign = std::get_if<Assign>(&message->body)) lease = assign->parts.at(0).lease;
      }
      if (!lease) continue;
      MetricsItem item{step, {}};
      for (int i = 0; i < 64; ++i) item.values["metric" + std::to_string(i)] = static_cast<double>(step * i);
      dealer.send(encode({0, Report{id, *lease, first++, {pack_item(item)}}}));
      ++written_;
      std::this_thread::sleep_for(5ms);
    }
  }

  ServerOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<int> written_{0};
  Log log_{"coordinator", Level::error};
  std::thread server_, writer_;
  std::string http_;
};

void fifty_clients(benchmark::State& state) {
  const Service service;
  const std::vector<std::string> paths = {"/api/v1/jobs", "/api/v1/jobs/1", "/api/v1/jobs/1/trials?limit=100",
                                          "/api/v1/trials/1/0/metrics?points=200&prefix=metric1", "/api/v1/gangs"};
  const auto each = static_cast<size_t>(state.range(0));  // requests of a client
  std::vector<double> times;
  std::atomic<int> failed = 0;
  double seconds = 0;
  for (auto _ : state) {
    std::vector<std::vector<double>> of_client(kClients);
    std::vector<std::thread> clients;
    const auto begun = Clock::now();
    for (int c = 0; c < kClients; ++c) {
      clients.emplace_back([&, c] {
        httplib::Client client(service.http());
        client.set_keep_alive(true);
        client.set_tcp_nodelay(true);
        for (size_t i = 0; i < each; ++i) {
          const auto begin = Clock::now();
          const auto got = client.Get(paths[(i + static_cast<size_t>(c)) % paths.size()]);
          of_client[static_cast<size_t>(c)].push_back(std::chrono::duration<double>(Clock::now() - begin).count());
          if (!got || got->status != 200) ++failed;
          std::this_thread::sleep_for(100ms);  // a page that is looked at
        }
      });
    }
    for (std::thread& client : clients) client.join();
    seconds += std::chrono::duration<double>(Clock::now() - begun).count();
    for (const auto& own : of_client) times.insert(times.end(), own.begin(), own.end());
  }
  std::ranges::sort(times);
  const auto at = [&](double share) {
    return 1e3 * times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))];
  };
  state.counters["p50_ms"] = at(0.5);
  state.counters["p99_ms"] = at(0.99);
  state.counters["requests_per_s"] = static_cast<double>(times.size()) / seconds;
  state.counters["failed"] = failed.load();
}
BENCHMARK(fifty_clients)->Arg(200)->Unit(benchmark::kMillisecond)->Iterations(1)->UseRealTime();

}  // namespace
}  // namespace hivq
