// What is answered piece by piece: a job's events, and the bytes of checkpoints.

#include <httplib.h>

#include <charconv>
#include <thread>

#include "common/sha256.h"
#include "coordinator/http/api.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq {

namespace {

using httplib::DataSink;
using httplib::Request;
using httplib::Response;

constexpr Millis kWatch = 2'000;  // of one question; then the reader is looked for, and the end of the server
constexpr std::chrono::milliseconds kBetween{500};  // two events at least: a trial that trains changes at every report

bool write(DataSink& sink, const std::string& text) { return sink.write(text.data(), text.size()); }

/// A job's events for one reader.
class Events {
 public:
  Events(ClientPool& pool, const std::atomic<bool>& ending, JobId job, uint64_t version)
      : pool_(pool), ending_(ending), job_(job), version_(version) {}

  /// The next event, or a comment where nothing has changed; false: the reader is gone.
  bool next(DataSink& sink) {
    for (; !ending_ && std::chrono::steady_clock::now() < next_;) std::this_thread::sleep_for(kBetween / 10);
    if (ending_) return end(sink);
    const auto changed = pool_.ask<Changed>(Watch{job_, version_, kWatch});
    if (!changed || !*changed) {
      // The coordinator stands still for a moment, as on a full disk.
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      return write(sink, ": no answer\n\n");
    }
    version_ = (*changed)->version;
    if (!(*changed)->changed) return write(sink, ": nothing new\n\n");
    const auto job = find();
    if (!job) return write(sink, ": no answer\n\n");
    const bool ended = has_ended(job->state);
    const std::string data = to_json(*job).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (!write(sink, fmt::format("id: {}\nevent: {}\ndata: {}\n\n", version_, ended ? "ended" : "changed", data))) {
      return false;
    }
    next_ = std::chrono::steady_clock::now() + kBetween;
    return ended ? end(sink) : true;
  }

 private:
  static bool end(DataSink& sink) {
    sink.done();
    return true;
  }

  std::optional<JobView> find() {
    const auto list = pool_.jobs();
    if (!list || !*list) return std::nullopt;
    for (const JobView& job : (**list)->jobs) {
      if (job.id == job_) return job;
    }
    return std::nullopt;
  }

  ClientPool& pool_;
  const std::atomic<bool>& ending_;
  JobId job_;
  uint64_t version_;
  std::chrono::steady_clock::time_point next_;
};

void send_events(ClientPool& pool, const std::atomic<bool>& ending, const Request& request, Response& response) {
  const JobId job = path_number(request, 1);
  if (Reply there = with_job(pool, job, [](const JobSnapshot&) { return Reply{}; }); there.status != 200) {
    return put(there, response);
  }
  uint64_t version = 0;  // anything else than a version of ours is none: everything is told again
  const std::string last = request.get_header_value("Last-Event-ID");
  std::from_chars(last.data(), last.data() + last.size(), version);
  const auto events = std::make_shared<Events>(pool, ending, job, version);
  response.set_header("Cache-Control", "no-store");
  response.set_chunked_content_provider("text/event-stream",
                                        [events](size_t, DataSink& sink) { return events->next(sink); });
}

void send_checkpoint(ClientPool& pool, const Request& request, Response& response) {
  const std::string wanted = request.matches[3];
  const int64_t step = wanted == "latest" ? -1 : static_cast<int64_t>(path_number(request, 3));
  const TrialId trial = path_trial(request);
  const auto answer = pool.ask<TrialCheckpoint>(FetchCheckpoint{trial, step});
  if (!answer) return put(unavailable(), response);
  if (!*answer) return put(refusal(answer->error()), response);
  const auto manifest = std::make_shared<const Manifest>(std::move((*answer)->manifest));
  response.set_header("Content-Disposition", fmt::format("attachment; filename=\"trial-{}-{}-step-{}.safetensors\"",
                                                         trial.job, trial.index, manifest->step));
  response.set_header("X-Hivq-Step", std::to_string(manifest->step));
  // The library asks for what is left from an offset on; chunks are written whole, one after the other. A chunk that
  // cannot be had breaks the connection off, so that a part is not taken for the whole.
  const auto next = std::make_shared<size_t>(0);
  response.set_content_provider(
      manifest->size, "application/octet-stream", [&pool, manifest, next](size_t, size_t, DataSink& sink) {
        if (*next >= manifest->chunks.size()) return false;
        const std::string& hash = manifest->chunks[(*next)++];
        const auto chunk = pool.ask<Chunk>(FetchChunk{hash});
        if (!chunk || !*chunk || !(*chunk)->error.empty() || sha256_hex((*chunk)->bytes) != hash) return false;
        return write(sink, (*chunk)->bytes);
      });
}

}  // namespace

void add_streams(std::vector<Route>& routes, ClientPool& pool, const std::atomic<bool>& ending) {
  routes.push_back({"GET", "/jobs/([0-9]{1,13})/events", {}, [&](const Request& request, Response& response) {
                      send_events(pool, ending, request, response);
                    }});
  routes.push_back({"GET",
                    "/trials/([0-9]{1,13})/([0-9]{1,13})/checkpoints/([0-9]{1,15}|latest)",
                    {},
                    [&](const Request& request, Response& response) { send_checkpoint(pool, request, response); }});
}

}  // namespace hivq
