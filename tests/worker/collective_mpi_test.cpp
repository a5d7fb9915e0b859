#include <gtest/gtest.h>
#include <mpi.h>
#include <torch/torch.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "worker/collective/collective.h"

namespace hivq {
namespace {

// Values of one rank, of magnitudes so different that their sum depends on the order of the additions.
at::Tensor values_of(int rank, int64_t elements, at::ScalarType type) {
  at::Tensor index = at::arange(elements, at::kDouble);
  return (at::sin(index * (rank + 1.37)) * at::exp(at::remainder(index * (rank + 3), 23.0))).to(type);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

/// The sum as the interface promises it: in the order of the ranks.
at::Tensor expected_sum(int ranks, int64_t elements, at::ScalarType type) {
  at::Tensor sum = values_of(0, elements, type);
  for (int r = 1; r < ranks; ++r) sum += values_of(r, elements, type);
  return sum;
}

TEST(MpiCollective, KnowsItsPlaceInTheWorld) {
  auto collective = make_mpi_collective();
  int rank = -1, size = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(collective->rank(), rank);
  EXPECT_EQ(collective->size(), size);
  EXPECT_TRUE(collective->device().is_cpu());
}

TEST(MpiCollective, SumsBitForBitInTheOrderOfTheRanks) {
  auto collective = make_mpi_collective();
  // Around the borders of the small path (32 KiB), of a piece (4 MiB), and sizes that do not divide by the ranks.
  for (auto type : {at::kFloat, at::kDouble}) {
    for (int64_t elements : {1, 2, 3, 5, 4096, 8191, 8192, 8193, 100'003, (1 << 19) - 1, 1 << 20, (1 << 20) + 1}) {
      at::Tensor tensor = values_of(collective->rank(), elements, type);
      ASSERT_TRUE(collective->all_reduce_sum(tensor));
      EXPECT_TRUE(same_bits(tensor, expected_sum(collective->size(), elements, type))) << elements << " of " << type;
    }
  }
}

TEST(MpiCollective, SumsAnElementAlikeWhereverItIsPacked) {
  auto collective = make_mpi_collective();
  const int64_t elements = 300'000;
  at::Tensor whole = values_of(collective->rank(), elements, at::kFloat);
  at::Tensor parts = whole.clone();
  ASSERT_TRUE(collective->all_reduce_sum(whole));
  for (int64_t at = 0; at < elements; at += 70'001) {
    at::Tensor part = parts.slice(0, at, std::min(elements, at + 70'001));
    ASSERT_TRUE(collective->all_reduce_sum(part));
  }
  EXPECT_TRUE(same_bits(whole, parts));
}

/// Ranks that come at other times, and look after their sums at other times.
TEST(MpiCollective, SumsManyTensorsThatAreUnderWayAtOnce) {
  auto collective = make_mpi_collective();
  const std::vector<int64_t> sizes = {3, 100'003, 1, 3 << 20, 8192, 8193, 0, 2 << 20, 5, 70'001};
  for (int round = 0; round < 3; ++round) {
    std::vector<at::Tensor> tensors;
    for (const int64_t elements : sizes) tensors.push_back(values_of(collective->rank(), elements, at::kFloat));
    for (size_t i = 0; i < tensors.size(); ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds((collective->rank() * 7 + round) % 3 * 500));
      ASSERT_TRUE(collective->begin_sum(tensors[i]));
      for (size_t k = 0; k < (i * static_cast<size_t>(collective->rank() + 1)) % 4; ++k) {
        ASSERT_TRUE(collective->progress());
      }
    }
    ASSERT_TRUE(collective->finish_sums());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE(same_bits(tensors[i], expected_sum(collective->size(), sizes[i], at::kFloat))) << sizes[i];
    }
  }
}

TEST(MpiCollective, SumsTensorsOfSeveralDimensionsAndNone) {
  auto collective = make_mpi_collective();
  at::Tensor matrix = at::full({3, 5}, collective->rank() + 1.0, at::kFloat);
  at::Tensor scalar = at::scalar_tensor(collective->rank() + 1.0, at::kDouble);
  ASSERT_TRUE(collective->all_reduce_sum(matrix));
  ASSERT_TRUE(collective->all_reduce_sum(scalar));
  const double sum = collective->size() * (collective->size() + 1) / 2.0;
  EXPECT_TRUE(matrix.eq(sum).all().item<bool>());
  EXPECT_EQ(scalar.item<double>(), sum);
}

TEST(MpiCollective, KeepsNaNAndInfinity) {
  auto collective = make_mpi_collective();
  at::Tensor tensor = at::zeros({3}, at::kFloat);
  if (collective->rank() == collective->size() - 1) tensor = at::tensor({std::nanf(""), INFINITY, 1.0f});
  ASSERT_TRUE(collective->all_reduce_sum(tensor));
  EXPECT_TRUE(std::isnan(tensor[0].item<float>()));
  EXPECT_EQ(tensor[1].item<float>(), INFINITY);
  EXPECT_EQ(tensor[2].item<float>(), 1.0f);
}

TEST(MpiCollective, BroadcastsEveryTypeFromRankZero) {
  auto collective = make_mpi_collective();
  const int rank = collective->rank();
  for (auto type : {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat,
                    at::kDouble, at::kBool, at::kComplexFloat}) {
    at::Tensor tensor = at::arange(1, 1001, at::kFloat).add(rank * 7).to(type);
    at::Tensor from_zero = at::arange(1, 1001, at::kFloat).to(type);
    ASSERT_TRUE(collective->broadcast(tensor));
    EXPECT_TRUE(same_bits(tensor, from_zero)) << type;
  }
}

TEST(MpiCollective, LeavesEmptyTensorsAlone) {
  auto collective = make_mpi_collective();
  at::Tensor floats = at::empty({0, 4}, at::kFloat), longs = at::empty({0}, at::kLong);
  EXPECT_TRUE(collective->all_reduce_sum(floats));
  EXPECT_TRUE(collective->broadcast(longs));
}

TEST(MpiCollective, RefusesWhatItCannotSum) {
  auto collective = make_mpi_collective();
  at::Tensor strided = at::zeros({4, 4}, at::kFloat).t(), longs = at::zeros({4}, at::kLong), none;
  EXPECT_EQ(collective->all_reduce_sum(strided).error().message,
            "a collective operation was given a tensor that is not contiguous");
  EXPECT_FALSE(collective->broadcast(strided));
  EXPECT_EQ(collective->all_reduce_sum(longs).error().message,
            "an all-reduce was given a tensor of Long; it sums float32 and float64");
  EXPECT_EQ(collective->all_reduce_sum(none).error().message, "a collective operation was given an undefined tensor");
}

TEST(NcclCollective, SaysWhyItIsNotThere) {
#ifdef HIVQ_CUDA
  if (torch::cuda::is_available()) GTEST_SKIP() << "this machine has a GPU";
#endif
  auto collective = make_nccl_collective(0);
  ASSERT_FALSE(collective);
#ifdef HIVQ_CUDA
  EXPECT_NE(collective.error().message.find("CUDA could not list its devices"), std::string::npos)
      << collective.error().message;
#else
  EXPECT_NE(collective.error().message.find("built without CUDA"), std::string::npos) << collective.error().message;
#endif
}

}  // namespace
}  // namespace hivq
