#pragma once

// The BLAS that LibTorch brings, for kernels that multiply small matrices within a thread's own work.

namespace hivq {

extern "C" {
void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb, const float* beta,
            float* c, const int* ldc);
void dgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb, const double* beta,
            double* c, const int* ldc);
}

/// A matrix of row-major storage whose rows begin `stride` elements apart; `transposed` is how it takes part.
template <typename T>
struct MatrixView {
  const T* data;
  int stride;
  bool transposed = false;
};

/// C [m, n] ← α A B + β C with A [m, k], B [k, n] after their transpositions; all row-major.
template <typename T>
void gemm(int m, int n, int k, T alpha, MatrixView<T> a, MatrixView<T> b, T beta, T* c, int c_stride) {
  const char* first = b.transposed ? "T" : "N";  // BLAS is column-major: Cᵀ = Bᵀ Aᵀ
  const char* second = a.transposed ? "T" : "N";
  if constexpr (sizeof(T) == sizeof(float)) {
    sgemm_(first, second, &n, &m, &k, &alpha, b.data, &b.stride, a.data, &a.stride, &beta, c, &c_stride);
  } else {
    dgemm_(first, second, &n, &m, &k, &alpha, b.data, &b.stride, a.data, &a.stride, &beta, c, &c_stride);
  }
}

}  // namespace hivq
