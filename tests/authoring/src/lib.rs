//! What an author of a plugin meets. `mistakes` holds sources that must not compile, with what the compiler says.
