#include "cluster/kubernetes_objects.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>

#include "cluster/gang_command.h"
#include "jobs/views/format.h"

namespace hivq {

namespace {

using nlohmann::json;

constexpr const char* container_name = "gang";
/// The operator starts mpirun as soon as it can; names and sshd of the workers take a moment more.
constexpr const char* wait_for_workers =
    "while read -r host rest; do tries=0; until ssh -n -o ConnectTimeout=2 \"$host\" true 2>/dev/null || "
    "[ $tries -ge 60 ]; do tries=$((tries+1)); sleep 1; done; done < /etc/mpi/hostfile; exec mpirun \"$@\"";
/// The first pod of a Job starts mpirun, which reaches the others by ssh. All have the same key, for hosts and users.
/// It waits for them as long as it takes: one may wait for a node.
constexpr const char* ssh_mount = "/etc/hivq/ssh";
constexpr const char* as_one_of_many = R"(set -e; folder=$1 pods=$2 slots=$3 job=$4 service=$5; shift 5
mask=$(umask); umask 077
cp {0}/ssh-privatekey "$folder/id_rsa"; ssh-keygen -yf "$folder/id_rsa" > "$folder/authorized_keys"
umask "$mask"
[ "$JOB_COMPLETION_INDEX" = 0 ] || exec {1}
trap 'exit 143' TERM
hosts=/tmp/hivq-hosts; echo "localhost slots=$slots" > $hosts; i=1
while [ $i -lt $pods ]; do
  until ssh -n -o ConnectionAttempts=1 -o ConnectTimeout=2 "$job-$i.$service" true 2>/dev/null; do sleep 1; done
  echo "$job-$i.$service slots=$slots" >> $hosts; i=$((i+1))
done
exec mpirun --hostfile $hosts --mca orte_keep_fqdn_hostnames 1 "$@")";

json labels_of(const Pool& pool, const GangObject& object, const LaunchRequest& request, const char* kind) {
  return {{"app.kubernetes.io/name", "hivq"},
          {"app.kubernetes.io/component", "gang"},
          {"app.kubernetes.io/managed-by", "hivq"},
          {"hivq.io/owner", object.owner},
          {"hivq.io/pool", pool.name},
          {"hivq.io/kind", kind},
          {launch_label, request.launch}};
}

json metadata_of(const GangObject& object, const json& labels) {
  json metadata = {{"name", object.name}, {"namespace", object.kube_namespace}, {"labels", labels}};
  if (!object.owner_reference.is_null()) metadata["ownerReferences"] = json::array({object.owner_reference});
  return metadata;
}

/// A pod without rights and with nothing that it can write but its own empty folders; the pool's template is merged
/// later.
json pod_template(const KubernetesPool& kubernetes, const json& labels) {
  json mounts = {{{"name", "tmp"}, {"mountPath", "/tmp"}}, {{"name", "shm"}, {"mountPath", "/dev/shm"}}};
  json volumes = {{{"name", "tmp"}, {"emptyDir", json::object()}},
                  {{"name", "shm"}, {"emptyDir", {{"medium", "Memory"}}}}};
  if (!kubernetes.cache.empty()) {
    mounts.push_back({{"name", "cache"}, {"mountPath", kubernetes.cache}});
    volumes.push_back({{"name", "cache"}, {"emptyDir", json::object()}});
  }
  json container = {
      {"name", container_name},
      {"image", kubernetes.image},
      {"imagePullPolicy", kubernetes.pull_policy},
      {"securityContext",
       {{"allowPrivilegeEscalation", false}, {"readOnlyRootFilesystem", true}, {"capabilities", {{"drop", {"ALL"}}}}}},
      {"volumeMounts", mounts}};
  json spec = {{"restartPolicy", "Never"},
               {"automountServiceAccountToken", false},
               {"enableServiceLinks", false},
               {"securityContext", {{"runAsNonRoot", true}, {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
               {"containers", json::array({container})},
               {"volumes", volumes}};
  return {{"metadata", {{"labels", labels}}}, {"spec", spec}};
}

json& container_of(json& pod) { return pod["spec"]["containers"][0]; }

void add_template(json& pod, const KubernetesPool& kubernetes) {
  if (kubernetes.template_.kind == YamlNode::Kind::map) merge_into(pod, to_json(kubernetes.template_));
}

/// What a rank must find in its environment.
json environment_of(const KubernetesPool& kubernetes, const GangObject& object) {
  json variables = {{{"name", "OMPI_ALLOW_RUN_AS_ROOT"}, {"value", "1"}},
                    {{"name", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}, {"value", "1"}}};
  if (!kubernetes.key_secret_name.empty()) {
    const json source = {{"secretKeyRef", {{"name", kubernetes.key_secret_name}, {"key", kubernetes.key_secret_key}}}};
    variables.push_back({{"name", "HIVQ_KEY"}, {"valueFrom", source}});
  }
  if (!object.coordinator_key.empty()) {
    variables.push_back({{"name", "HIVQ_COORDINATOR_KEY"}, {"value", object.coordinator_key}});
  }
  if (object.log_json) variables.push_back({{"name", log_json_variable}, {"value", "1"}});
  return variables;
}

/// `-np N -x NAME …`: ranks in other pods have of the environment what is named: ours and the template's, but not what
/// Open MPI passes on by itself, nor what each pod has of its own.
std::vector<std::string> ranks_line(const KubernetesPool& kubernetes, const LaunchRequest& request,
                                    const json& environment) {
  json pod = pod_template(kubernetes, json::object());
  container_of(pod)["env"] = environment;
  add_template(pod, kubernetes);
  std::vector<std::string> line{"-np", std::to_string(request.ranks)};
  for (const json& variable : container_of(pod).value("env", json::array())) {
    const std::string name = variable.value("name", "");
    const json source = variable.value("valueFrom", json::object());
    if (name.empty() || name.starts_with("OMPI_") || source.contains("fieldRef") || source.contains("resourceFieldRef"))
      continue;
    line.insert(line.end(), {"-x", name});
  }
  return line;
}

std::vector<std::string> worker_line(const Pool& pool, const KubernetesPool& kubernetes, const GangObject& object,
                                     const LaunchRequest& request) {
  return worker_command(kubernetes.worker, object.endpoint, pool, request.launch, kubernetes.cache, object.roots);
}

template <typename... Lists>
json joined(const Lists&... lists) {
  json all = json::array();
  const auto add = [&](const auto& list) {
    for (const auto& word : list) all.push_back(word);
  };
  (add(lists), ...);
  return all;
}

/// The key by which the things of a list are told apart; empty: they are not.
std::string name_key(const json& list) {
  for (const char* key : {"mountPath", "name"}) {
    const auto has = [&](const json& item) { return item.is_object() && item.contains(key); };
    if (!list.empty() && std::all_of(list.begin(), list.end(), has)) return key;
  }
  return "";
}

}  // namespace

json to_json(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return nullptr;
    case YamlNode::Kind::list: {
      json list = json::array();
      for (const YamlNode& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case YamlNode::Kind::map: {
      json map = json::object();
      for (size_t i = 0; i < node.items.size(); ++i) map[node.keys[i].text] = to_json(node.items[i]);
      return map;
    }
    case YamlNode::Kind::scalar:
      break;
  }
  if (node.quoted) return node.text;
  if (node.text == "true" || node.text == "false") return node.text == "true";
  if (node.text == "null" || node.text == "~") return nullptr;
  const char* end = node.text.data() + node.text.size();
  int64_t whole = 0;
  if (const auto read = std::from_chars(node.text.data(), end, whole); read.ec == std::errc() && read.ptr == end)
    return whole;
  double number = 0;
  if (const auto read = std::from_chars(node.text.data(), end, number); read.ec == std::errc() && read.ptr == end)
    return number;
  return node.text;
}

void merge_into(json& base, const json& patch) {
  if (base.is_object() && patch.is_object()) {
    for (const auto& [key, value] : patch.items()) {
      if (value.is_null()) {
        base.erase(key);
      } else {
        merge_into(base[key], value);
      }
    }
    return;
  }
  const std::string key = base.is_array() && patch.is_array() ? name_key(patch) : "";
  if (key.empty() || (!base.empty() && name_key(base) != key)) {
    base = patch;
    return;
  }
  for (const json& item : patch) {
    const auto same = [&](const json& other) { return other.at(key) == item.at(key); };
    const auto found = std::find_if(base.begin(), base.end(), same);
    if (found != base.end() && key == "mountPath") {
      *found = item;
    } else if (found != base.end()) {
      // Of a volume there is one source: that of the patch.
      if (found->contains("emptyDir") && !item.contains("emptyDir")) found->erase("emptyDir");
      merge_into(*found, item);
    } else {
      base.push_back(item);
    }
  }
}

json times(const json& quantity, uint64_t factor) {
  if (factor == 1) return quantity;
  if (quantity.is_number_integer()) return quantity.get<int64_t>() * static_cast<int64_t>(factor);
  if (quantity.is_number()) return quantity.get<double>() * static_cast<double>(factor);
  if (!quantity.is_string()) return quantity;
  const std::string text = quantity;
  const size_t unit = std::min(text.find_first_not_of("0123456789."), text.size());
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + unit, number);
  if (unit == 0 || read.ec != std::errc()) return quantity;
  return fmt::format("{}{}", number * static_cast<double>(factor), text.substr(unit));
}

json mpi_job(const Pool& pool, const KubernetesPool& kubernetes, const GangObject& object,
             const LaunchRequest& request) {
  const json labels = labels_of(pool, object, request, "mpijob");
  const uint64_t pods = (request.ranks + kubernetes.ranks_per_pod - 1) / kubernetes.ranks_per_pod;

  json worker = pod_template(kubernetes, labels);
  if (!kubernetes.sshd.empty()) container_of(worker)["command"] = kubernetes.sshd;
  if (kubernetes.resources.kind == YamlNode::Kind::map)
    container_of(worker)["resources"] = to_json(kubernetes.resources);
  add_template(worker, kubernetes);

  json launcher = pod_template(kubernetes, labels);
  const json environment = environment_of(kubernetes, object);
  add_template(launcher, kubernetes);
  json& container = container_of(launcher);
  container["command"] = {"sh", "-c", wait_for_workers, "mpirun"};
  container["args"] = joined(ranks_line(kubernetes, request, environment), kubernetes.mpirun,
                             worker_line(pool, kubernetes, object, request));
  container["resources"] = {{"requests", {{"cpu", "50m"}, {"memory", "64Mi"}}}};
  for (const json& variable : environment) merge_into(container["env"], json::array({variable}));

  const json replicas = {{"Launcher", {{"replicas", 1}, {"restartPolicy", "Never"}, {"template", launcher}}},
                         {"Worker", {{"replicas", pods}, {"restartPolicy", "Never"}, {"template", worker}}}};
  const json policy = {{"cleanPodPolicy", "Running"}, {"backoffLimit", 0}, {"ttlSecondsAfterFinished", 3600}};
  return {{"apiVersion", "kubeflow.org/v2beta1"},
          {"kind", "MPIJob"},
          {"metadata", metadata_of(object, labels)},
          {"spec",
           {{"slotsPerWorker", kubernetes.ranks_per_pod},
            {"sshAuthMountPath", kubernetes.ssh_folder},
            {"launcherCreationPolicy", "WaitForWorkersReady"},
            {"runPolicy", policy},
            {"mpiReplicaSpecs", replicas}}}};
}

json gang_job(const Pool& pool, const KubernetesPool& kubernetes, const GangObject& object,
              const LaunchRequest& request) {
  const json labels = labels_of(pool, object, request, "job");
  const uint64_t places = (request.ranks + kubernetes.ranks_per_pod - 1) / kubernetes.ranks_per_pod;
  const uint64_t pods = kubernetes.ssh_secret.empty() ? 1 : places;
  const json environment = environment_of(kubernetes, object);
  const json line =
      joined(ranks_line(kubernetes, request, environment), std::vector{"--oversubscribe", "--bind-to", "none"},
             kubernetes.mpirun, worker_line(pool, kubernetes, object, request));
  json pod = pod_template(kubernetes, labels);
  json& container = container_of(pod);
  container["env"] = environment;
  if (kubernetes.resources.kind == YamlNode::Kind::map) {
    json resources = to_json(kubernetes.resources);
    for (auto& [kind, quantities] : resources.items()) {
      if (!quantities.is_object()) continue;
      for (auto& [name, quantity] : quantities.items()) quantity = times(quantity, places / pods);
    }
    container["resources"] = resources;
  }
  json spec = {{"backoffLimit", 0}, {"ttlSecondsAfterFinished", 3600}};
  if (pods == 1) {
    container["command"] = joined(std::vector{"mpirun"}, line);
  } else {
    const std::vector<std::string> own{"/usr/sbin/sshd", "-De"};
    std::string sshd;
    for (const auto& word : kubernetes.sshd.empty() ? own : kubernetes.sshd) sshd += shell_word(word) + " ";
    container["command"] = {"sh", "-c", fmt::format(fmt::runtime(as_one_of_many), ssh_mount, sshd), "gang"};
    container["args"] = joined(std::vector{kubernetes.ssh_folder, std::to_string(pods),
                                           std::to_string(kubernetes.ranks_per_pod), object.name, kubernetes.service},
                               line);
    container["volumeMounts"].push_back({{"name", "ssh"}, {"mountPath", kubernetes.ssh_folder}});
    container["volumeMounts"].push_back({{"name", "ssh-key"}, {"mountPath", ssh_mount}, {"readOnly", true}});
    pod["spec"]["volumes"].push_back({{"name", "ssh"}, {"emptyDir", {{"medium", "Memory"}}}});
    pod["spec"]["volumes"].push_back({{"name", "ssh-key"}, {"secret", {{"secretName", kubernetes.ssh_secret}}}});
    pod["spec"]["subdomain"] = kubernetes.service;
    spec.update({{"completionMode", "Indexed"}, {"completions", pods}, {"parallelism", pods}});
    // The gang has ended when mpirun has; earlier than Kubernetes 1.31 the coordinator sees to it.
    spec["successPolicy"] = {{"rules", json::array({{{"succeededIndexes", "0"}}})}};
  }
  add_template(pod, kubernetes);
  spec["template"] = pod;
  return {{"apiVersion", "batch/v1"}, {"kind", "Job"}, {"metadata", metadata_of(object, labels)}, {"spec", spec}};
}

bool starts_the_ranks(const json& pod) {
  const json metadata = pod.value("metadata", json::object());
  const json labels = metadata.value("labels", json::object()), notes = metadata.value("annotations", json::object());
  return labels.value("training.kubeflow.org/job-role", "launcher") == "launcher" &&
         notes.value("batch.kubernetes.io/job-completion-index", "0") == "0";
}

std::optional<PodTrouble> trouble_of(const json& pod) {
  const std::string name = pod.value(json::json_pointer("/metadata/name"), "");
  const json status = pod.value("status", json::object());
  const auto text = [](const json& at, const char* key) { return at.is_object() ? at.value(key, "") : std::string(); };
  PodTrouble trouble;
  for (const json& condition : status.value("conditions", json::array())) {
    const std::string type = text(condition, "type");
    if (type == "DisruptionTarget" && text(condition, "status") == "True") {
      return PodTrouble{false, true, fmt::format("pod {} was taken away: {}", name, text(condition, "message"))};
    }
    if (type == "PodScheduled" && text(condition, "status") == "False") {
      trouble = {true, false, fmt::format("pod {} waits for a node: {}", name, text(condition, "message"))};
    }
  }
  const std::string reason = text(status, "reason");
  if (!reason.empty()) {
    const bool disrupted =
        reason == "Evicted" || reason == "NodeLost" || reason == "Preempting" || reason == "Terminated";
    return PodTrouble{false, disrupted, fmt::format("pod {}: {}: {}", name, reason, text(status, "message"))};
  }
  for (const char* statuses : {"initContainerStatuses", "containerStatuses"}) {
    for (const json& container : status.value(statuses, json::array())) {
      const json state = container.value("state", json::object());
      const json waiting = state.value("waiting", json::object()), ended = state.value("terminated", json::object());
      const std::string why = text(waiting, "reason");
      if (!why.empty() && why != "ContainerCreating" && why != "PodInitializing") {
        return PodTrouble{false, false, fmt::format("pod {}: {}: {}", name, why, text(waiting, "message"))};
      }
      const int code = ended.value("exitCode", 0);
      if (code == 0) continue;
      const std::string kind = text(ended, "reason");
      std::string said = fmt::format("pod {} ended with exit code {}{}", name, code,
                                     kind.empty() || kind == "Error" ? "" : " (" + kind + ")");
      if (kind == "OOMKilled") said += ": it ran out of memory; give the pool more in resources";
      return PodTrouble{false, false, said};
    }
  }
  if (trouble.text.empty()) return std::nullopt;
  return trouble;
}

}  // namespace hivq
