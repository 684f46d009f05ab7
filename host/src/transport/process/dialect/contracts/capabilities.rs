//! What a program offers: it is run with the word `capabilities`, and says so on its standard output.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use plg_packaging::PluginName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::contracts::{ContractType, Offered};
use crate::transport::process::child::Fate;
use crate::transport::process::error::Said;
use crate::transport::process::launch;
use crate::transport::process::output::{Log, Output, nonblocking, read};
use crate::transport::process::program::{self, Program};
use crate::transport::process::sandbox::Confinement;
use crate::transport::process::{RunRoot, Spawner};

/// What a program said of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capabilities {
    pub(crate) offered: Offered,
    /// The types of configuration that it asks for.
    pub(crate) config_types: Vec<String>,
}

/// The most bytes that it may say.
const MOST: usize = 1 << 20;
/// How long what it wrote is still read after its end, though somebody else may hold the stream.
const AFTER_END: Duration = Duration::from_millis(200);

/// Asks a program. Nothing of it is left when this returns.
///
/// # Errors
///
/// Why there is no answer, in words.
pub(crate) fn ask(
    program: &Program,
    plugin: &PluginName,
    confinement: &Confinement,
    root: &Arc<RunRoot>,
    spawner: &Spawner,
    limit: Duration,
) -> Result<Capabilities, String> {
    let directory = root.create().map_err(|error| error.to_string())?;
    program::check_format(&program.path).map_err(|error| error.to_string())?;
    let mut command = launch::command(program, &directory);
    command.arg("capabilities").stdin(Stdio::null());
    command.envs(confinement.variables(&directory.work()));
    let barrier = confinement
        .barrier(&program.path, directory.path())
        .map_err(|error| error.to_string())?;
    let mut child = spawner
        .spawn(command, None, barrier)
        .map_err(|error| error.to_string())?;
    let streams = (child.stdout.take(), child.stderr.take());
    let fate = Fate::new(child).map_err(|error| error.to_string())?;
    let outcome = listen(plugin, &fate, streams, limit);
    fate.kill();
    fate.reap();
    parse(&outcome?)
}

type Streams = (
    Option<std::process::ChildStdout>,
    Option<std::process::ChildStderr>,
);

/// Everything that it says until it ends well.
fn listen(
    plugin: &PluginName,
    fate: &Fate,
    (out, err): Streams,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let (mut out, mut err) = (out.and_then(nonblocking), err.and_then(nonblocking));
    let (mut text, output) = (Vec::new(), Output::default());
    let mut log = Log::new(plugin.as_str());
    let mut end = Instant::now() + limit;
    loop {
        let has_ended = fate.ending().is_some();
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() && !has_ended {
            let said = output.errors();
            return Err(format!("no answer within {limit:?}{}", Said(&said)));
        }
        if has_ended && (left.is_zero() || (out.is_none() && err.is_none())) {
            break;
        }
        let mut ready = Vec::with_capacity(3);
        if !has_ended {
            ready.push(PollFd::new(&fate.process, PollFlags::IN));
        }
        ready.extend(out.iter().map(|out| PollFd::new(out, PollFlags::IN)));
        ready.extend(err.iter().map(|err| PollFd::new(err, PollFlags::IN)));
        match poll(&mut ready, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        let is_over = !has_ended && ready.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(ready);
        if is_over {
            fate.reap();
            end = Instant::now() + AFTER_END;
        }
        read(&mut out, |bytes| text.extend(bytes));
        read(&mut err, |bytes| {
            output.keep(bytes);
            log.take(bytes);
        });
        if text.len() > MOST {
            return Err(format!("its answer has more than {MOST} bytes"));
        }
    }
    log.end();
    match fate.ending() {
        Some(ending) if !ending.is_success() => {
            let said = output.errors();
            Err(format!("it {ending}{}", Said(&said)))
        }
        _ => Ok(text),
    }
}

/// Reads what it said as a Go host would, and forgives what other languages write.
fn parse(text: &[u8]) -> Result<Capabilities, String> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let said: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let Value::Object(said) = said else {
        return Err("it is no JSON object".to_owned());
    };
    let mut capabilities = Capabilities::default();
    match member(&said, "types") {
        None | Some(Value::Null) => {}
        Some(Value::Object(contracts)) => {
            for (name, types) in contracts {
                let types = list(types, &format!("types.{name}"))?;
                let types = types.iter().filter(|entry| !entry.is_null());
                let types: Result<Vec<_>, String> = types
                    .map(|entry| Ok(Arc::new(contract_type(name, entry)?)))
                    .collect();
                capabilities.offered.insert(name.clone(), types?);
            }
        }
        Some(_) => return Err("`types` is no object".to_owned()),
    }
    if let Some(types) = member(&said, "configTypes") {
        for kind in list(types, "configTypes")? {
            let kind = kind
                .as_str()
                .ok_or("`configTypes` has something but text")?;
            capabilities.config_types.push(kind.to_owned());
        }
    }
    Ok(capabilities)
}

fn contract_type(contract: &str, entry: &Value) -> Result<ContractType, String> {
    let Value::Object(entry) = entry else {
        return Err(format!("`types.{contract}` has something but objects"));
    };
    let label = match member(entry, "type") {
        None | Some(Value::Null) => "",
        Some(Value::String(label)) => label,
        Some(_) => return Err(format!("a `type` of `{contract}` is no text")),
    };
    let kind = ContractType::new(label);
    Ok(match member(entry, "jsonSchema") {
        None | Some(Value::Null) => kind,
        Some(Value::String(text)) if text.is_empty() => kind,
        Some(Value::String(text)) => {
            let decoded = BASE64.decode(text.as_bytes()).ok();
            let schema = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let schema = schema.or_else(|| serde_json::from_str(text).ok());
            let problem = || format!("the `jsonSchema` of `{label}` is neither base64 nor JSON");
            kind.with_schema(schema.ok_or_else(problem)?)
        }
        Some(schema) => kind.with_schema(schema.clone()),
    })
}

fn list<'a>(value: &'a Value, what: &str) -> Result<&'a [Value], String> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        _ => Err(format!("`{what}` is no list")),
    }
}

/// A member of that name, in capitals or not.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let folded = || {
        object
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    object.get(name).or_else(|| Some(folded()?.1))
}
