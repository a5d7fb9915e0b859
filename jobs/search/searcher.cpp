#include "jobs/search/searcher.h"

#include <algorithm>

#include "jobs/search/cma_es.h"
#include "jobs/search/gp.h"
#include "jobs/search/nsga2.h"
#include "jobs/search/pbt.h"
#include "jobs/search/tpe.h"

namespace hivq {

namespace {

// Each variant is searched by itself, in turns, all with the same seed.
class ByVariant final : public Searcher {
 public:
  explicit ByVariant(const SweepSpec& sweep) : variants_(sweep.variants) {
    if (variants_.empty()) variants_.emplace_back();
    for (size_t i = 0; i < variants_.size(); ++i) searchers_.push_back(make_adaptive_search(sweep));
  }

  int64_t size() const override { return saturating_product(count(), searchers_.front()->size()); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size()) return std::nullopt;
    auto proposal = searchers_[static_cast<size_t>(index % count())]->propose(index / count());
    if (!proposal) return std::nullopt;
    const Variant& variant = variants_[static_cast<size_t>(index % count())];
    proposal->variant = variant.name;
    proposal->params.insert(variant.params.begin(), variant.params.end());
    if (proposal->start_from) proposal->start_from = *proposal->start_from * count() + index % count();
    return proposal;
  }

  void tell(const Observation& seen) override {
    if (seen.index < 0) return;
    Observation own = seen;
    own.index = seen.index / count();
    searchers_[static_cast<size_t>(seen.index % count())]->tell(own);
  }

  /// Each variant learns from the trials that had its settings.
  void recall(const Observation& seen) override {
    for (size_t i = 0; i < searchers_.size(); ++i) {
      const Params& fixed = variants_[i].params;
      const bool same = std::all_of(fixed.begin(), fixed.end(), [&](const auto& entry) {
        const auto found = seen.params.find(entry.first);
        return found != seen.params.end() && found->second == entry.second;
      });
      if (same) searchers_[i]->recall(seen);
    }
  }

  bool adaptive() const override { return true; }

 private:
  int64_t count() const { return static_cast<int64_t>(variants_.size()); }

  std::vector<Variant> variants_;
  std::vector<std::unique_ptr<Searcher>> searchers_;
};

}  // namespace

std::unique_ptr<Searcher> make_adaptive_search(const SweepSpec& sweep) {
  if (sweep.search == "gp") return make_gp_search(sweep);
  if (sweep.search == "cma-es") return make_cma_es_search(sweep);
  if (sweep.search == "nsga2") return make_nsga2_search(sweep);
  if (sweep.search == "pbt") return make_pbt_search(sweep);
  return make_tpe_search(sweep);
}

std::unique_ptr<Searcher> make_searcher(const JobSpec& job) {
  if (!job.sweep) return make_single_trial();
  // Of a study that knows no parameter yet.
  if (job.study && job.sweep->parameters.empty()) return make_random_search(*job.sweep);
  if (job.sweep->search == "grid") return make_grid_search(*job.sweep);
  if (job.sweep->search == "random") return make_random_search(*job.sweep);
  if (job.sweep->search == "sobol") return make_sobol_search(*job.sweep);
  return std::make_unique<ByVariant>(*job.sweep);
}

}  // namespace hivq
