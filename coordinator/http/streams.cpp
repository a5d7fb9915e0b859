// What is answered piece by piece: a job's events, and the bytes of checkpoints.

#include <httplib.h>

#include <charconv>
#include <optional>
#include <regex>
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

/// Changes when the bytes do, and only then: chunks are named by their content.
std::string tag_of(const Manifest& manifest) {
  std::string names;
  for (const std::string& chunk : manifest.chunks) names += chunk;
  return '"' + sha256_hex(names) + '"';
}

/// A part of a file, from a byte on.
struct Span {
  uint64_t begin = 0, length = 0;
};

/// What `Range: bytes=FIRST-LAST` asks for, FIRST- the rest, -COUNT the end. All where it asks for anything else, as
/// for several parts: RFC 9110 14.2 lets a server do so. Nothing: it begins behind the end.
std::optional<Span> wanted_span(const std::string& range, uint64_t size) {
  static const std::regex form("bytes=([0-9]{0,18})-([0-9]{0,18})");
  std::smatch parts;
  if (!std::regex_match(range, parts, form) || parts.str() == "bytes=-") return Span{0, size};
  const auto number = [](const std::string& text) { return std::stoull(text); };
  if (parts.length(1) == 0) {
    const uint64_t length = std::min<uint64_t>(number(parts[2]), size);
    return length == 0 ? std::nullopt : std::optional(Span{size - length, length});
  }
  const uint64_t begin = number(parts[1]);
  if (begin >= size) return std::nullopt;
  const uint64_t last = parts.length(2) == 0 ? size - 1 : std::min<uint64_t>(number(parts[2]), size - 1);
  return last < begin ? Span{0, size} : Span{begin, last - begin + 1};
}

/// Writes what a chunk has of the bytes from `at` on. Each chunk but the last has chunk_bytes, as gangs cut them.
/// False: it cannot be had, which breaks the connection off, so that a part is not taken for the whole.
bool write_chunk(ClientPool& pool, const Manifest& manifest, uint64_t at, uint64_t length, DataSink& sink) {
  const size_t index = at / chunk_bytes, offset = at % chunk_bytes;
  if (index >= manifest.chunks.size()) return false;
  const auto chunk = pool.ask<Chunk>(FetchChunk{manifest.chunks[index]});
  if (!chunk || !*chunk || !(*chunk)->error.empty()) return false;
  const std::string& bytes = (*chunk)->bytes;
  const bool whole = bytes.size() == std::min<uint64_t>(chunk_bytes, manifest.size - index * chunk_bytes);
  if (!whole || sha256_hex(bytes) != manifest.chunks[index]) return false;
  return sink.write(bytes.data() + offset, std::min<uint64_t>(length, bytes.size() - offset));
}

void send_checkpoint(ClientPool& pool, const Request& request, Response& response) {
  const std::string wanted = request.matches[3];
  const int64_t step = wanted == "latest" ? -1 : static_cast<int64_t>(path_number(request, 3));
  const TrialId trial = path_trial(request);
  const auto answer = pool.ask<TrialCheckpoint>(FetchCheckpoint{trial, step});
  if (!answer) return put(unavailable(), response);
  if (!*answer) return put(refusal(answer->error()), response);
  const auto manifest = std::make_shared<const Manifest>(std::move((*answer)->manifest));
  const std::string tag = tag_of(*manifest);
  response.set_header("ETag", tag);
  response.set_header("X-Hivq-Step", std::to_string(manifest->step));
  if (request.get_header_value("If-None-Match") == tag) {
    response.status = 304;
    return;
  }
  response.set_header("Accept-Ranges", "bytes");
  // Of another file than the one that the reader has a part of, it wants all.
  const bool same = !request.has_header("If-Range") || request.get_header_value("If-Range") == tag;
  const auto span = wanted_span(same ? request.get_header_value("Range") : "", manifest->size);
  if (!span) {
    response.set_header("Content-Range", fmt::format("bytes */{}", manifest->size));
    return put(problem(416, fmt::format("the checkpoint has {} bytes", manifest->size)), response);
  }
  response.status = 200;
  if (span->length < manifest->size) {
    response.status = 206;
    response.set_header("Content-Range",
                        fmt::format("bytes {}-{}/{}", span->begin, span->begin + span->length - 1, manifest->size));
  }
  response.set_header("Content-Disposition", fmt::format("attachment; filename=\"trial-{}-{}-step-{}.safetensors\"",
                                                         trial.job, trial.index, manifest->step));
  // The library asks for what is left from an offset on.
  response.set_content_provider(span->length, "application/octet-stream",
                                [&pool, manifest, begin = span->begin](size_t offset, size_t left, DataSink& sink) {
                                  return write_chunk(pool, *manifest, begin + offset, left, sink);
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
