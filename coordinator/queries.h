#pragma once

// Answers to clients' questions, read from the store; the core adds what only lives in memory (progress of what runs).

#include "coordinator/core.h"
#include "coordinator/store.h"

namespace hivq {

bool is_query(const Body& body);

/// The answer, or Failed with a sentence. FetchChunk is a question too: a chunk is verified as it is read.
Body answer(const Body& question, const Store& store, const Core& core);

}  // namespace hivq
