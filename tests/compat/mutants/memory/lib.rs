//! The memory backend with a defect of choice, as a library.

keyway_sdk::export_backend!(keyway_mutants::Mutant<keyway_memory_backend::Memory>);
