//! The integration tests, one binary: a module for each part that is tested, through public APIs only.
//! A new test goes to the module of the thing it tests.

mod abi;
mod c_header;
mod call;
mod context;
mod cli;
mod preflight;
mod gate;
mod evolution;
mod layout;
mod load;
mod probe;
mod refuse;
mod discovery;
mod smoke;
mod storm;
mod support;
mod threads;
mod tidy;
mod upgrade;
