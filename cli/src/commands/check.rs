use clap::Args;
use crate::{exit::Exit,output::Output,problem::Failure};
/// X
#[derive(Debug, Args)]
pub(crate) struct Check;
impl Check { pub(super) fn run(self, _g: &super::Global, _o: &mut Output) -> Result<Exit, Failure> { Ok(Exit::Ok) } }
