#include "cluster/kubernetes.h"

#include <httplib.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "cluster/gang_command.h"
#include "cluster/kubernetes_objects.h"

namespace hivq {

namespace {

using nlohmann::json;
using Phase = EngineState::Phase;

constexpr const char* account = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr time_t connect_seconds = 5, answer_seconds = 15;
constexpr const char* go_on = "; the gangs go on meanwhile";

std::string text_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

struct Answer {
  int status = 0;  // of HTTP; 0: there was none
  json body;
  std::string text;     // the body as it came
  std::string trouble;  // why there was none
  bool sent = false;    // … although the question may have arrived
  bool good() const { return status >= 200 && status < 300; }
  /// For people.
  std::string why() const {
    if (status == 0) return trouble;
    const std::string said = body.is_object() ? body.value("message", "") : "";
    return fmt::format("the API server says {}: {}", status, said.empty() ? text.substr(0, 200) : said);
  }
};

/// One API server. The token is read at each question: it is renewed on disk.
class Api {
 public:
  Api(std::string address, std::string token_file, const std::string& ca_file)
      : address_(std::move(address)), token_file_(std::move(token_file)), client_(address_) {
    client_.set_connection_timeout(connect_seconds);
    client_.set_read_timeout(answer_seconds);
    client_.set_write_timeout(answer_seconds);
    client_.set_keep_alive(true);
    if (!ca_file.empty()) client_.set_ca_cert_path(ca_file.c_str());
    client_.enable_server_certificate_verification(true);
  }

  Answer get(const std::string& path) { return answer(client_.Get(path.c_str(), headers())); }
  Answer post(const std::string& path, const json& body) {
    return answer(client_.Post(path.c_str(), headers(), body.dump(), "application/json"));
  }
  Answer erase(const std::string& path) {
    const json how = {{"kind", "DeleteOptions"}, {"apiVersion", "v1"}, {"propagationPolicy", "Background"}};
    return answer(client_.Delete(path.c_str(), headers(), how.dump(), "application/json"));
  }

 private:
  httplib::Headers headers() const {
    httplib::Headers headers{{"Accept", "application/json"}};
    const std::string token = token_file_.empty() ? "" : text_of_file(token_file_);
    if (!token.empty()) headers.emplace("Authorization", "Bearer " + token);
    return headers;
  }

  Answer answer(const httplib::Result& result) const {
    Answer said;
    if (!result) {
      const httplib::Error failed = result.error();
      said.sent = failed == httplib::Error::Read;
      said.trouble = fmt::format("the API server {} does not answer ({})", address_, httplib::to_string(failed));
      if (failed == httplib::Error::SSLServerVerification || failed == httplib::Error::SSLLoadingCerts) {
        said.trouble = fmt::format(
            "the certificate of the API server {} is not signed by ca_file; name the cluster's CA "
            "there",
            address_);
      }
      return said;
    }
    said.status = result->status;
    said.text = result->body;
    said.body = json::parse(result->body, nullptr, false);
    return said;
  }

  std::string address_, token_file_;
  httplib::Client client_;
};

/// The condition of an MPIJob or a Job, where it is true: its message, or its reason.
std::optional<std::string> condition(const json& object, const std::string& type) {
  const json status = object.value("status", json::object());
  for (const json& one : status.value("conditions", json::array())) {
    if (one.value("type", "") != type || one.value("status", "") != "True") continue;
    const std::string message = one.value("message", "");
    return message.empty() ? one.value("reason", type) : message;
  }
  return std::nullopt;
}

class Kubernetes final : public Engine {
 public:
  Kubernetes(Pool pool, KubernetesPool kubernetes, LauncherOptions options, std::string owner, const Log& log,
             const std::string& own_namespace)
      : pool_(std::move(pool)),
        kubernetes_(std::move(kubernetes)),
        options_(std::move(options)),
        owner_(std::move(owner)),
        own_namespace_(own_namespace),
        log_(log),
        api_(kubernetes_.api, kubernetes_.token_file, kubernetes_.ca_file) {}

  std::vector<Submission> submit(const std::vector<LaunchRequest>& requests) override {
    std::vector<Submission> answers;
    for (const auto& request : requests) answers.push_back(create(request));
    return answers;
  }

  Submission create(const LaunchRequest& request) {
    auto operated = has_operator();
    if (!operated) return Refusal{operated.error().message, false, true};
    GangObject object{
        name_of(request.launch), kubernetes_.kube_namespace, owner_, options_.advertise, "", owner_reference(),
        options_.roots};
    const auto key = options_.environment.find("HIVQ_COORDINATOR_KEY");
    if (key != options_.environment.end()) object.coordinator_key = key->second;
    object.log_json = options_.environment.contains(log_json_variable);
    const Answer said = *operated ? api_.post(mpi_jobs(), mpi_job(pool_, kubernetes_, object, request))
                                  : api_.post(jobs(), gang_job(pool_, kubernetes_, object, request));
    // 409: it is there, of an earlier try.
    if (said.good() || said.status == 409) return (*operated ? "mpijob:" : "job:") + object.name;
    if (said.status == 0) return Refusal{said.why(), said.sent, true};
    std::string remedy;
    if (said.status == 403) remedy = "; the coordinator's service account needs the right to create it";
    if (said.status == 404) {
      remedy = *operated ? "; install Kubeflow's MPI operator, or give the pool operator: job (or auto)"
                         : "; is the namespace there?";
    }
    return Refusal{"Kubernetes refuses the gang: " + said.why() + remedy, false,
                   said.status >= 500 || said.status == 429};
  }

  Status cancel(const Launched& launched) override {
    const std::string name = name_of(launched.launch);
    Status failed;
    for (const bool operated : {true, false}) {
      if (launched.handle.empty() && !may_be(operated)) continue;
      if (launched.handle.starts_with(operated ? "job:" : "mpijob:")) continue;
      const Answer said = api_.erase((operated ? mpi_jobs() : jobs()) + "/" + name);
      if (!said.good() && said.status != 404) failed = error("{} could not be deleted: {}", name, said.why());
    }
    return failed;
  }

  Result<std::map<std::string, EngineState>> list() override {
    std::map<std::string, EngineState> states;
    std::map<std::string, std::vector<json>> pods;
    for (const bool operated : {true, false}) {
      if (!may_be(operated)) continue;
      const Answer said = api_.get((operated ? mpi_jobs() : jobs()) + selector(operated ? "mpijob" : "job"));
      if (operated && said.status == 404) continue;  // there is no operator
      if (!said.good()) return Error{said.why() + go_on};
      for (const json& object : said.body.value("items", json::array())) {
        const std::string launch = launch_of(object);
        if (object.value("metadata", json::object()).contains("deletionTimestamp")) continue;
        states[launch] = state_of(object, (operated ? "mpijob:" : "job:") + name_of(launch));
      }
    }
    const auto begins = [](const auto& entry) {
      return entry.second.phase == Phase::starting || entry.second.phase == Phase::queued;
    };
    if (std::none_of(states.begin(), states.end(), begins)) return states;
    const Answer said = api_.get(all_pods() + selector(""));
    if (!said.good()) return Error{said.why() + go_on};
    for (const json& pod : said.body.value("items", json::array())) {
      const auto found = states.find(launch_of(pod));
      if (found != states.end() && begins(*found)) explain(pod, found->second);
    }
    return states;
  }

  EngineState how_it_ended(const Launched& launched, const std::optional<EngineState>& last) override {
    EngineState end{Phase::ended, launched.handle, "", false};
    if (!last || last->phase != Phase::ended) {
      end.text = fmt::format("{} was deleted", launched.handle);
      if (last && !last->text.empty()) end.text += "; before that: " + last->text;
      return end;
    }
    end.text = fmt::format("{} {}", launched.handle, last->text);
    const Answer said = api_.get(all_pods() + selector("", launched.launch));
    if (!said.good()) return end;
    std::string why, first;
    for (const json& pod : said.body.value("items", json::array())) {
      const auto trouble = trouble_of(pod);
      if (!trouble) continue;
      end.blameless |= trouble->disrupted;
      // The pods of a Job that has failed are ended.
      if (!trouble->disrupted && pod.value("metadata", json::object()).contains("deletionTimestamp")) continue;
      // mpirun's own exit tells less than that of a rank's pod.
      (starts_the_ranks(pod) ? first : why) = trouble->text;
    }
    if (why.empty()) why = first;
    if (!why.empty()) end.text += ": " + why;
    for (const json& pod : said.body.value("items", json::array())) {
      if (starts_the_ranks(pod))
        end.text += keep_log(launched.launch, pod.value(json::json_pointer("/metadata/name"), ""));
    }
    return end;
  }

 private:
  std::string name_of(const std::string& launch) const {
    return fmt::format("hivq-{}-{}-{}", owner_, pool_.name, launch);
  }
  std::string mpi_jobs() const {
    return fmt::format("/apis/kubeflow.org/v2beta1/namespaces/{}/mpijobs", kubernetes_.kube_namespace);
  }
  std::string jobs() const { return fmt::format("/apis/batch/v1/namespaces/{}/jobs", kubernetes_.kube_namespace); }
  std::string all_pods() const { return fmt::format("/api/v1/namespaces/{}/pods", kubernetes_.kube_namespace); }

  /// Of this coordinator's gangs of this pool, and of one of them.
  std::string selector(const std::string& kind, const std::string& launch = "") const {
    std::string text =
        fmt::format("?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dhivq%2Chivq.io%2Fowner%3D{}%2Chivq.io%2Fpool%3D{}",
                    owner_, pool_.name);
    if (!kind.empty()) text += "%2Chivq.io%2Fkind%3D" + kind;
    if (!launch.empty()) text += "%2Chivq.io%2Flaunch%3D" + launch;
    return text;
  }

  static std::string launch_of(const json& object) {
    return object.value(json::json_pointer("/metadata/labels/hivq.io~1launch"), "");
  }

  /// Whether gangs of this pool may be MPIJobs, or Jobs; of others there may be no right to ask.
  bool may_be(bool operated) const {
    using Operator = KubernetesPool::Operator;
    return kubernetes_.engine != (operated ? Operator::job : Operator::mpijob);
  }

  /// Asked before each gang: the operator may come later.
  Result<bool> has_operator() {
    if (kubernetes_.engine != KubernetesPool::Operator::automatic) {
      return kubernetes_.engine == KubernetesPool::Operator::mpijob;
    }
    const Answer said = api_.get("/apis/kubeflow.org/v2beta1");
    if (said.good()) return true;
    if (said.status == 404) return false;
    return Error{said.why()};
  }

  /// Of the coordinator's own object, so that what is left of a gang goes with it.
  json owner_reference() {
    const std::string name = variable("HIVQ_OWNER_NAME");
    if (name.empty() || kubernetes_.kube_namespace != own_namespace_) return nullptr;
    const auto or_else = [](const std::string& text, const char* otherwise) { return text.empty() ? otherwise : text; };
    const std::string kind = or_else(variable("HIVQ_OWNER_KIND"), "StatefulSet");
    const std::string version = or_else(variable("HIVQ_OWNER_API_VERSION"), "apps/v1");
    if (owner_uid_.empty()) owner_uid_ = variable("HIVQ_OWNER_UID");
    if (owner_uid_.empty()) {
      std::string plural = kind + "s";
      std::transform(plural.begin(), plural.end(), plural.begin(), [](unsigned char c) { return std::tolower(c); });
      const Answer said = api_.get(fmt::format("/{}/{}/namespaces/{}/{}/{}", version == "v1" ? "api" : "apis", version,
                                               own_namespace_, plural, name));
      if (said.good()) owner_uid_ = said.body.value(json::json_pointer("/metadata/uid"), "");
      if (owner_uid_.empty()) {
        log_.warning("pool {}: its gangs are not tied to {} {}: {}", pool_.name, kind, name, said.why());
        return nullptr;
      }
    }
    return {{"apiVersion", version}, {"kind", kind}, {"name", name}, {"uid", owner_uid_}};
  }

  static EngineState state_of(const json& object, const std::string& handle) {
    EngineState state{Phase::starting, handle, "", false};
    auto failed = condition(object, "Failed");
    if (!failed) failed = condition(object, "FailureTarget");  // its pods are still there, and can be asked why
    if (failed) {
      state = {Phase::ended, handle, "failed: " + *failed, false};
    } else if (condition(object, "Succeeded") || condition(object, "Complete")) {
      state = {Phase::ended, handle, "has ended", false};
    } else if (const auto held = condition(object, "Suspended")) {
      state = {Phase::queued, handle, "it is suspended: " + *held, false};
    } else if (object.value(json::json_pointer("/status/completedIndexes"), "").starts_with('0')) {
      state = {Phase::ended, handle, "has ended", false};
    } else if (condition(object, "Running") || object.value(json::json_pointer("/status/ready"), 0) >=
                                                   object.value(json::json_pointer("/spec/completions"), 1)) {
      state = {Phase::running, handle, "", false};
    }
    return state;
  }

  static void explain(const json& pod, EngineState& state) {
    const auto trouble = trouble_of(pod);
    if (!trouble) return;
    if (trouble->unschedulable) state.phase = Phase::queued;
    state.text = trouble->text;
  }

  /// The end of what a pod said, into the gang's log; `: last lines`.
  std::string keep_log(const std::string& launch, const std::string& pod) {
    const Answer said = api_.get(fmt::format("{}/{}/log?tailLines=200", all_pods(), pod));
    if (!said.good()) return "";
    const std::string path = gang_log(options_.data, launch);
    std::ofstream(path, std::ios::binary) << said.text;
    const std::string tail = last_lines(path, 3);
    return tail.empty() ? "" : ": " + tail;
  }

  Pool pool_;
  KubernetesPool kubernetes_;
  LauncherOptions options_;
  std::string owner_, own_namespace_, owner_uid_;
  Log log_;
  Api api_;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_kubernetes(const Pool& pool, const KubernetesPool& given,
                                                const LauncherOptions& options, const std::string& owner,
                                                const Log& log) {
  KubernetesPool kubernetes = given;
  const std::string host = variable("KUBERNETES_SERVICE_HOST"), port = variable("KUBERNETES_SERVICE_PORT");
  const std::string own = text_of_file(std::string(account) + "/namespace");
  if (kubernetes.api.empty()) {
    if (host.empty()) {
      return error(
          "pool {} needs a Kubernetes cluster, but the coordinator runs in no pod; say where it is with api, "
          "token_file and ca_file",
          pool.name);
    }
    const bool v6 = host.find(':') != std::string::npos;
    kubernetes.api = fmt::format("https://{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", port.empty() ? "443" : port);
    if (kubernetes.token_file.empty()) kubernetes.token_file = std::string(account) + "/token";
    if (kubernetes.ca_file.empty()) kubernetes.ca_file = std::string(account) + "/ca.crt";
  }
  if (kubernetes.kube_namespace.empty()) kubernetes.kube_namespace = own.empty() ? "default" : own;
  return std::unique_ptr<Engine>(std::make_unique<Kubernetes>(pool, kubernetes, options, owner, log, own));
}

}  // namespace hivq
