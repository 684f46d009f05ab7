use clap::Args;
use crate::{exit::Exit,output::Output,problem::Failure};
/// X
#[derive(Debug, Args)]
pub(crate) struct Explain;
impl Explain { pub(super) fn run(self,  _o: &mut Output) -> Result<Exit, Failure> { Ok(Exit::Ok) } }
