#include "cluster/command.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace hivq {

Result<CommandOutput> run_command(SpawnOptions options, const std::string& scratch, std::chrono::milliseconds limit,
                                  const std::atomic<bool>& ending) {
  std::error_code ignored;
  std::filesystem::remove(scratch, ignored);
  options.output = scratch;
  const auto process = spawn(options);
  if (!process) return process.error();
  const auto end = std::chrono::steady_clock::now() + limit;
  std::optional<Exit> exit;
  while (!(exit = try_wait(*process))) {
    const bool late = std::chrono::steady_clock::now() > end;
    if (late || ending) {
      stop(*process, std::chrono::milliseconds(500));
      std::filesystem::remove(scratch, ignored);
      return error("{} did not answer within {} s", options.command[0], limit.count() / 1000);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::ifstream file(scratch, std::ios::binary);
  CommandOutput output{exit->code, {std::istreambuf_iterator<char>(file), {}}};
  std::filesystem::remove(scratch, ignored);
  return output;
}

}  // namespace hivq
