#include "worker/commands/torchscript.h"

#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/script.h>
#include <torch/torch.h>

#include "worker/data/preprocess.h"
#include "worker/eval/score.h"

namespace hivq {
namespace {

constexpr int64_t kTraced = 2;  // images; a batch of 1 would let operations forget the batch's dimension

/// What the program computes; recorded as it runs.
torch::jit::Stack serve(const TrainedModel& trained, const EfficientNet& backbone, const torch::jit::Stack& inputs) {
  const at::Tensor features = extract_features(backbone, normalised(inputs.at(0).toTensor()));
  const at::Tensor h0 = features.flatten(2).transpose(1, 2);
  const at::Tensor labels = takes_label(trained) ? inputs.at(1).toTensor() : at::Tensor();
  const Scored scored = score(trained.model, trained.spec.eval, h0, labels);
  return {scored.map, chosen_scores(scored.scores, trained.spec.eval), scored.chosen};
}

}  // namespace

bool takes_label(const TrainedModel& trained) { return trained.spec.model.switch_by == "label"; }

Status save_torchscript(const TrainedModel& trained, const EfficientNet& backbone, const std::string& path) {
  const at::NoGradGuard no_gradients;
  const int64_t size = trained.spec.data.image_size;
  torch::jit::Stack inputs = {at::rand({kTraced, 3, size, size})};
  std::vector<std::string> names = {"image"};
  if (takes_label(trained)) inputs.emplace_back(at::zeros({kTraced}, at::kLong)), names.emplace_back("class_index");
  const auto traced = torch::jit::tracer::trace(
      inputs,
      [&](torch::jit::Stack in) -> torch::jit::Stack {
        torch::jit::Stack out = serve(trained, backbone, in);
        return {c10::ivalue::Tuple::create(std::move(out))};
      },
      [](const at::Tensor&) { return std::string(); }, /*strict=*/true, /*force_outplace=*/false, /*self=*/nullptr,
      names);

  torch::jit::Module module("hivq.HvqTrans");
  const std::shared_ptr<torch::jit::Graph>& graph = traced.first->graph;
  graph->insertInput(0, "self")->setType(module._ivalue()->type());
  const c10::QualifiedName name(*module.type()->name(), "forward");
  module.type()->addMethod(module._ivalue()->compilation_unit()->create_function(name, graph));
  try {
    module.save(path);
  } catch (const c10::Error& failure) {
    return error("cannot write {}: {}", path, failure.what_without_backtrace());
  }
  return {};
}

}  // namespace hivq
