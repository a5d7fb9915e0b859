// Pictures of a trial: its test images with their anomaly maps, and figures that were attached to it.

#include <httplib.h>

#include "coordinator/http/api.h"

namespace hivq {

namespace {

using httplib::Request;
using httplib::Response;
using nlohmann::ordered_json;

constexpr size_t kVersionDigits = 16;  // of the SHA-256, in addresses

std::string version_of(const std::string& hash) { return hash.substr(0, kVersionDigits); }

/// With what is there now in the address, so that a browser keeps it for good and still sees a new one.
std::string address(const TrialId& trial, const std::string& rest, const std::string& hash) {
  return fmt::format("/api/v1/trials/{}/{}/{}.png?v={}", trial.job, trial.index, rest, version_of(hash));
}

ordered_json picture_json(const TrialId& trial, const PictureView& picture) {
  const auto part = [&](const char* name, const std::string& hash) {
    return address(trial, fmt::format("pictures/{}/{}", picture.number, name), hash);
  };
  return {{"number", picture.number},
          {"step", picture.step},
          {"name", picture.name},
          {"class", picture.class_name},
          {"anomalous", picture.anomalous},
          {"score", picture.score},
          {"map_low", picture.map_low},
          {"map_high", picture.map_high},
          {"width", picture.width},
          {"height", picture.height},
          {"image", part("image", picture.image)},
          {"truth", picture.truth.empty() ? ordered_json() : ordered_json(part("truth", picture.truth))},
          {"map", part("map", picture.map)}};
}

Reply list_pictures(ClientPool& pool, const Request& request) {
  const TrialId trial = path_trial(request);
  return answered<PictureList>(pool, ListPictures{trial}, [&](const PictureList& list) {
    ordered_json json = {{"trial", to_string(trial)}, {"pictures", ordered_json::array()}};
    json["figures"] = ordered_json::array();
    for (const PictureView& picture : list.pictures) json["pictures"].push_back(picture_json(trial, picture));
    for (const FigureView& figure : list.figures) {
      json["figures"].push_back({{"figure", figure.figure},
                                 {"at", figure.at},
                                 {"width", figure.width},
                                 {"height", figure.height},
                                 {"url", address(trial, fmt::format("figures/{}", figure.figure), figure.hash)}});
    }
    return json_reply(json);
  });
}

void send_png(ClientPool& pool, const Request& request, Response& response, const std::string& part) {
  const auto answer = pool.ask<Picture>(FetchPicture{path_trial(request), path_number(request, 3), part});
  if (!answer) return put(unavailable(), response);
  if (!*answer) return put(refusal(answer->error()), response);
  const Picture& picture = **answer;
  const std::string tag = '"' + picture.hash + '"';
  const bool named = query_text(request, "v") == version_of(picture.hash);
  response.set_header("ETag", tag);
  response.set_header("Cache-Control", named ? "max-age=31536000, immutable" : "no-cache");
  if (request.get_header_value("If-None-Match") == tag) {
    response.status = 304;
    return;
  }
  response.set_content(picture.png, "image/png");
}

}  // namespace

void add_picture_routes(std::vector<Route>& routes, ClientPool& pool) {
  const std::string trial = "/trials/([0-9]{1,13})/([0-9]{1,13})";
  routes.push_back(
      {"GET", trial + "/pictures", [&pool](const Request& request) { return list_pictures(pool, request); }});
  routes.push_back(
      {"GET",
       trial + "/pictures/([0-9]{1,4})/(image|truth|map)\\.png",
       {},
       [&pool](const Request& request, Response& response) { send_png(pool, request, response, request.matches[4]); }});
  routes.push_back(
      {"GET", trial + "/figures/([0-9]{1,4})\\.png", {}, [&pool](const Request& request, Response& response) {
         send_png(pool, request, response, "figure");
       }});
}

}  // namespace hivq
