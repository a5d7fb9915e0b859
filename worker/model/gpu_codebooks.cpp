#include "worker/model/gpu_codebooks.h"

#include <torch/torch.h>

#include "worker/gpu/arguments.h"
#include "worker/gpu/kernels.h"

namespace hivq {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

GpuTypes types_of(const at::Tensor& values) { return {values.scalar_type(), values.scalar_type()}; }

/// As the kernels take it: null where all images have the one codebook.
const void* group_of(const Codebook& codebook, const at::Tensor& group) {
  return codebook.codebooks() == 1 ? nullptr : group.const_data_ptr();
}

struct PotFunction : torch::autograd::Function<PotFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& products, const at::Tensor& of_tokens,
                            const Codebook& codebook, const at::Tensor& group) {
    const at::Tensor product = products.contiguous(), tokens = of_tokens.contiguous();
    const int64_t images = product.size(0), of_image = product.size(1), prototypes = product.size(2);
    const int64_t rows = images * of_image, width = tokens.size(2);
    const auto options = product.options().requires_grad(false);
    // Of each row and column: tops, inverse sums, mean costs, inverse norms.
    at::Tensor of_rows = at::empty({4, images, of_image}, options),
               of_columns = at::empty({4, images, prototypes}, options);
    const void* which = group_of(codebook, group);
    start_gpu_kernel("pot_rows", types_of(product), product.device(), gpu_warps(rows), {kGpuThreads},
                     product.const_data_ptr(), tokens.const_data_ptr(), codebook.squared_norm.const_data_ptr(), which,
                     of_rows.mutable_data_ptr(), rows, of_image, prototypes, width);
    start_gpu_kernel("pot_columns", types_of(product), product.device(),
                     {static_cast<unsigned>((prototypes + 31) / 32), static_cast<unsigned>(images)},
                     {32, kLowBlockHeight}, product.const_data_ptr(), codebook.squared_norm.const_data_ptr(), which,
                     of_rows.mutable_data_ptr(), of_columns.mutable_data_ptr(), images, of_image, prototypes);
    context->save_for_backward({product, tokens, of_rows, of_columns});
    return of_rows[2].mean(1) + of_columns[2].mean(1);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &product = saved[0], &tokens = saved[1], g = gradients[0].contiguous();
    const int64_t images = product.size(0), of_image = product.size(1), prototypes = product.size(2);
    at::Tensor to_product = at::empty_like(product), to_tokens = at::empty_like(tokens);
    start_gpu_kernel("pot_backward", types_of(product), product.device(), gpu_warps(images * of_image), {kGpuThreads},
                     product.const_data_ptr(), tokens.const_data_ptr(), saved[2].const_data_ptr(),
                     saved[3].const_data_ptr(), g.const_data_ptr(), to_product.mutable_data_ptr(),
                     to_tokens.mutable_data_ptr(), images, of_image, prototypes, tokens.size(2));
    return {to_product, to_tokens, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void gpu_nearest(const Codebook& codebook, const at::Tensor& group, Quantized& level) {
  const int64_t of_image = level.tokens.size(1), rows = level.tokens.size(0) * of_image;
  const at::Tensor product = level.product.contiguous();
  level.code = at::empty(level.tokens.sizes().slice(0, 2), group.options());
  level.nearest = at::empty(level.tokens.sizes(), level.tokens.options().requires_grad(false));
  start_gpu_kernel("nearest_prototype", types_of(product), product.device(), gpu_warps(rows), {kGpuThreads},
                   product.const_data_ptr(), codebook.squared_norm.const_data_ptr(), codebook.embed.const_data_ptr(),
                   group_of(codebook, group), level.code.mutable_data_ptr(), level.nearest.mutable_data_ptr(), rows,
                   of_image, codebook.prototypes(), codebook.width());
}

void gpu_statistics(const CodebookStatistics& statistics, const Quantized& level, const at::Tensor& group) {
  const at::Tensor tokens = level.tokens.detach().contiguous();
  const int64_t codebooks = statistics.counts.size(0), prototypes = statistics.counts.size(1);
  const GpuExtent grid{
      static_cast<unsigned>(codebooks * ((prototypes + kStatisticsPrototypes - 1) / kStatisticsPrototypes)),
      static_cast<unsigned>((tokens.size(2) + 31) / 32)};
  start_gpu_kernel("codebook_statistics", types_of(tokens), tokens.device(), grid, {32, kLowBlockHeight},
                   level.code.const_data_ptr(), tokens.const_data_ptr(), group.const_data_ptr(),
                   statistics.counts.data_ptr(), statistics.sums.data_ptr(), tokens.size(0), tokens.size(1), prototypes,
                   tokens.size(2));
}

void gpu_ema_update(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& decay,
                    const at::Tensor& moves) {
  const at::Tensor gamma = decay.to(codebook.embed.scalar_type());
  at::Tensor size = at::empty_like(codebook.cluster_size);
  start_gpu_kernel("move_prototypes", types_of(size), size.device(), gpu_warps(size.numel()), {kGpuThreads},
                   statistics.counts.const_data_ptr(), statistics.sums.const_data_ptr(), gamma.const_data_ptr(),
                   moves.const_data_ptr(), codebook.cluster_size.const_data_ptr(), size.mutable_data_ptr(),
                   codebook.embed_avg.mutable_data_ptr(), codebook.embed.mutable_data_ptr(),
                   codebook.squared_norm.mutable_data_ptr(), codebook.codebooks(), codebook.prototypes(),
                   codebook.width());
  codebook.cluster_size.copy_(size);
}

void gpu_squared_norms(Codebook& codebook) {
  const at::Tensor embed = codebook.embed.contiguous();
  start_gpu_kernel("squared_norms", types_of(embed), embed.device(), gpu_warps(codebook.squared_norm.numel()),
                   {kGpuThreads}, embed.const_data_ptr(), codebook.squared_norm.mutable_data_ptr(),
                   codebook.squared_norm.numel(), codebook.width());
}

at::Tensor gpu_pot_loss(const Codebook& codebook, const Quantized& level, const at::Tensor& group) {
  return PotFunction::apply(level.product, level.tokens, codebook, group);
}

}  // namespace hivq
