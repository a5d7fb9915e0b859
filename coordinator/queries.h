#pragma once

// Answers to clients' questions, read from the store; the core adds what only lives in memory (progress of what runs).

#include "coordinator/core.h"
#include "coordinator/store.h"

namespace hivq {

bool is_query(const Body& body);
/// A query that needs nothing of the core: curves, logs, chunks, pictures.
bool reads_store_alone(const Body& body);

/// The answer, or Failed with a sentence.
Body answer(const Body& question, const Store& store, const Core& core);
/// The same where reads_store_alone(); for any thread. A chunk is verified as it is read.
Body answer(const Body& question, const Store& store);

}  // namespace hivq
