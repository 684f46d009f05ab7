use clap::Args;
use crate::{exit::Exit,output::Output,problem::Failure};
/// X
#[derive(Debug, Args)]
pub(crate) struct New;
impl New { pub(super) fn run(self,  _o: &mut Output) -> Result<Exit, Failure> { Ok(Exit::Ok) } }
