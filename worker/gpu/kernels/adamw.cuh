// AdamW (Loshchilov and Hutter, ICLR 2019), decoupled weight decay, of parameters [T, P]; a row of blocks a trial.
// What the trials of `shorter` [T] multiply their gradients by, their lr and weight decay [T]; those with false in
// `applied` stay as they are.
template <typename T, typename Low>
__global__ void adamw(T* __restrict__ values, const T* __restrict__ gradients, T* __restrict__ exp_avg,
                      T* __restrict__ exp_avg_sq, const double* steps, const T* shorter,
                      const double* lr, const double* weight_decay, const bool* applied, long long size) {
  const unsigned trial = blockIdx.y;
  if (!applied[trial]) return;
  __shared__ T constants[2];  // learned once a block: powers of doubles are slow
  const double beta1 = 0.9, beta2 = 0.999;
  if (threadIdx.x == 0) {
    constants[0] = (T)(lr[trial] / (1 - pow(beta1, *steps)));
    constants[1] = (T)sqrt(1 - pow(beta2, *steps));
  }
  __syncthreads();
  const T along = constants[0], deviation = constants[1], factor = shorter[trial];
  const T decay = (T)(1 - lr[trial] * weight_decay[trial]);
  const long long begin = trial * size;
  for (long long i = thread_of_grid(); i < size; i += gridDim.x * blockDim.x) {
    const long long at = begin + i;
    const T g = gradients[at] * factor;
    const T m = (T)beta1 * exp_avg[at] + (T)(1 - beta1) * g, v = (T)beta2 * exp_avg_sq[at] + (T)(1 - beta2) * g * g;
    exp_avg[at] = m;
    exp_avg_sq[at] = v;
    values[at] = values[at] * decay - along * m / (sqrt(v) / deviation + (T)1e-8);
  }
}
