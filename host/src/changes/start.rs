//! From a candidate to a generation that stands ready, and its functions besides `execute`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plg_plugin_api::abi::status;

use crate::codes;
use crate::context::frame::Call;
use crate::context::{Context, Failure, json};
use crate::discovery::Candidate;
use crate::error::Error;
use crate::inner::Inner;
use crate::last_words::Doing;
use crate::loader::{Known, LoadError};
use crate::plugin::generation::{Generation, Room};
use crate::plugin::record::Plugin;
use crate::plugin::thread::{HERE, Number};
use crate::plugin::turn::Turn;
use crate::plugin::workers::{self, Outcome, Place, Until};
use crate::policy::Placed;
use crate::transport::Transport;
use crate::upgrade::UpgradeError;

/// A function of a plugin that the host calls by itself.
#[derive(Clone, Debug)]
pub(crate) enum Function {
    Init,
    Save,
    /// With the version of the state.
    Restore(u32),
}

/// Why one of them did not do what it is for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Inner {
    /// Maps the candidate's library, or finds its program, and runs its `init`. It is whole and ready, and nobody calls it yet.
    pub(crate) fn start(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        candidate: &Candidate,
        known: Known,
    ) -> Result<Arc<Generation>, Error> {
        let placed = self.place(candidate)?;
        self.start_at(plugin, turn, candidate, known, placed)
    }

    /// As [`start`](Self::start), there.
    pub(super) fn start_at(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        candidate: &Candidate,
        known: Known,
        placed: Placed,
    ) -> Result<Arc<Generation>, Error> {
        let room = self.room(plugin)?;
        let number = turn.next_number();
        let mapped = self.setup.loader.open(candidate, known, number, placed)?;
        let generation = Arc::new(Generation::new(number, candidate, mapped, room));
        self.make_ready(plugin, turn, candidate, generation)
    }

    /// The right to map one more image, for a plugin that has not too many already.
    pub(crate) fn room(&self, plugin: &Plugin) -> Result<Room, Error> {
        let limits = &self.setup.loader.limits;
        let (retained, limit) = (plugin.retained(), limits.retained);
        if retained >= limit {
            let name = plugin.name().clone();
            return Err(UpgradeError::NeedsRestart {
                name,
                retained,
                limit,
            }
            .into());
        }
        let limit = limits.plugins;
        let room = Room::take(&self.mapped, limit);
        Ok(room.map_err(|mapped| LoadError::TooMany { mapped, limit })?)
    }

    /// Runs the generation's `init`.
    pub(crate) fn make_ready(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        candidate: &Candidate,
        generation: Arc<Generation>,
    ) -> Result<Arc<Generation>, Error> {
        let limit = self.setup.loader.limits.init;
        let context = match self.configuration(&generation) {
            Ok(context) => context,
            Err(error) => {
                let _ = turn.discard(generation);
                return Err(error.into());
            }
        };
        match self.run(plugin, &generation, Function::Init, context, limit) {
            Ok(_) => Ok(generation),
            Err(Refusal { code, message }) => {
                let is_process = matches!(generation.transport, Transport::Process(_));
                let _ = turn.discard(generation);
                let path = candidate.library.clone();
                if let Some(known) = codes::find(&code).filter(|_| is_process) {
                    let code = known.code;
                    return Err(LoadError::Start {
                        path,
                        code,
                        message,
                    }
                    .into());
                }
                Err(LoadError::Init {
                    path,
                    code,
                    message,
                }
                .into())
            }
        }
    }

    /// What `init` finds in its context: the operator's configuration. A process is given it when it is started.
    fn configuration(&self, generation: &Generation) -> Result<Context, LoadError> {
        let mut context = Context::new();
        if generation.transport.is_here() {
            let settings = &self.setup.loader.settings;
            let config = settings.config(&generation.manifest, &generation.origin)?;
            for (key, json) in config {
                context.set(&key, json::to_value(json));
            }
        }
        Ok(context)
    }

    /// Runs one of the generation's functions for at most `limit`, on a thread that may be lost.
    pub(crate) fn run(
        &self,
        plugin: &Arc<Plugin>,
        generation: &Arc<Generation>,
        function: Function,
        context: Context,
        limit: Duration,
    ) -> Result<Context, Refusal> {
        let mut context = context.timeout(limit);
        let word = function.as_str();
        let work = {
            let (plugin, generation) = (plugin.clone(), generation.clone());
            move || {
                let label = match &function {
                    Function::Restore(version) => version.to_string(),
                    _ => String::new(),
                };
                let call = Call {
                    callee: &*plugin,
                    label: &label,
                };
                let answer = HERE.with(|here| {
                    // What it leaves in thread-locals of this thread makes the thread one that later
                    // unloads have to know.
                    let thread = Number::of(here);
                    let recorded = generation.recorded.as_deref();
                    let _inside =
                        recorded.and_then(|build| build.enter(thread, 0, function.doing()));
                    let place = || Place {
                        plugin: Arc::downgrade(&plugin),
                        generation: generation.number,
                        label: word.to_owned(),
                        number: thread.get(),
                    };
                    let transport = &generation.transport;
                    workers::inside(place, || match function {
                        Function::Init => transport.init(here, &mut context, &call),
                        Function::Save => transport.save(here, &mut context, &call),
                        Function::Restore(_) => transport.restore(here, &mut context, &call),
                    })
                });
                drop((plugin, generation));
                (context, answer)
            }
        };
        let until = Until {
            end: Instant::now().checked_add(limit),
            is_cancelled: None,
        };
        let refused = |code: &str, message: String| Refusal {
            code: code.to_owned(),
            message,
        };
        match self.workers.run(until, work) {
            Outcome::Done((context, Some(status::OK))) => Ok(context),
            Outcome::Done((mut context, _)) => Err(match context.take_failure() {
                Some(failure) => {
                    let Failure { code, message } = *failure;
                    Refusal { code, message }
                }
                None => refused("call.failed", "it did not say why".to_owned()),
            }),
            Outcome::Left { left, .. } => {
                let thread = left.thread();
                Plugin::lose(left);
                let message =
                    format!("`{word}` was not done after {limit:?}; it goes on in `{thread}`");
                Err(refused("call.timeout", message))
            }
            Outcome::NoThread(error) => Err(refused(
                "call.threads",
                format!("no thread for it: {error}"),
            )),
        }
    }
}

impl Function {
    fn doing(&self) -> Doing {
        match self {
            Self::Init => Doing::Init,
            Self::Save => Doing::Save,
            Self::Restore(_) => Doing::Restore,
        }
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Save => "save",
            Self::Restore(_) => "restore",
        }
    }
}
