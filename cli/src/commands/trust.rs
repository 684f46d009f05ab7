//! `plg trust`: the keys that may sign what is installed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use plg_host::trust::{Level, NamePattern, TrustError, TrustedKey, Why};
use plg_packaging::Text;
use plg_packaging::sign::KeyId;
use serde_json::{Value, json};

use super::history::print;
use crate::exit::Exit;
use crate::home::Home;
use crate::keys;
use crate::output::Output;
use crate::problem::{Failure, Problem};
use crate::state;

/// Say which keys may sign what is installed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg trust add acme.pub --name 'acme-*' --note 'Acme releases, key from their handbook'
  plg trust add ours.pub --name billing --level in-process
  plg trust list
  plg trust revoke 5C3A90B1E2D4F687 --why 'laptop stolen'")]
pub(crate) struct Trust {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    List(List),
    Revoke(Revoke),
    Threshold(Threshold),
}

/// Trust a key, or change what it is trusted for
///
/// Plugins of its names are installed only when they are signed from now on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg trust add acme.pub --name 'acme-*' --expires 2028-01-01
  plg trust add mirror.pub --index --name mirror-test")]
struct Add {
    /// The public key
    #[arg(value_name = "KEY.pub")]
    key: PathBuf,
    /// A plugin that it may sign, or with `*` at the end all that begin so; by default all
    #[arg(long, value_name = "PATTERN")]
    name: Vec<NamePattern>,
    /// Where what it signed may run: `in-process`, `isolated` or `sandboxed`; by default `isolated`, which
    /// includes `sandboxed`
    #[arg(long, value_name = "LEVEL")]
    level: Vec<Level>,
    /// It may sign indexes of releases, too
    #[arg(long)]
    index: bool,
    /// Until when, as a date or a time from now such as `90d`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires: Option<SystemTime>,
    /// Whose it is, and how you know
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: Text,
    #[command(flatten)]
    home: Home,
}

/// Show the keys, and what each is trusted for
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plg trust list --json")]
struct List {
    #[command(flatten)]
    home: Home,
}

/// Trust a key no more, for anything that it ever signed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plg trust revoke acme.pub --why 'they lost it'")]
struct Revoke {
    /// The id of the key, or its public file
    #[arg(value_name = "KEYID|KEY.pub")]
    key: String,
    /// The reason
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: Text,
    #[command(flatten)]
    home: Home,
}

/// Say how many different keys have to sign an index of releases
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plg trust threshold 2")]
struct Threshold {
    /// How many, at least one
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    #[command(flatten)]
    home: Home,
}

impl Trust {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Add(verb) => verb.run(output),
            Verb::List(verb) => verb.run(output),
            Verb::Revoke(verb) => verb.run(output),
            Verb::Threshold(verb) => verb.run(output),
        }
    }
}

impl Add {
    fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let key = keys::public(&self.key)?;
        let mut key = TrustedKey::new(key, SystemTime::now());
        if !self.name.is_empty() {
            key.names = self.name;
        }
        if !self.level.is_empty() {
            key.levels = self.level;
        }
        key.note = self.note;
        key.index = self.index;
        key.expires = self.expires;
        let before = open(&self.home)?.add(key.clone()).map_err(refused)?;
        if output.is_json() {
            output.json(&json!({
                "key": document(&key),
                "replaced": before.as_ref().map(document),
            }))?;
            return Ok(Exit::Ok);
        }
        let (id, names, levels) = (key.id(), words(&key.names), words(&key.levels));
        let now = if before.is_some() { "now " } else { "" };
        let mut out = output.text();
        writeln!(out, "key {id} is {now}trusted for {names}, up to {levels}")?;
        Ok(Exit::Ok)
    }
}

impl List {
    fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let trust = open(&self.home)?;
        let keys = trust.list().map_err(refused)?;
        let threshold = trust.threshold().map_err(refused)?;
        if output.is_json() {
            output.json(&json!({
                "directory": self.home.trust()?,
                "threshold": threshold,
                "keys": keys.iter().map(document).collect::<Vec<_>>(),
            }))?;
            return Ok(Exit::Ok);
        }
        if keys.is_empty() {
            let directory = self.home.trust()?;
            writeln!(
                output.text(),
                "no key is trusted in `{}`",
                directory.display()
            )?;
            return Ok(Exit::Ok);
        }
        let header = ["KEY", "PLUGINS", "LEVELS", "INDEX", "STATE", "NOTE"];
        let cells = |key: &TrustedKey| {
            [
                key.id().to_string(),
                words(&key.names),
                words(&key.levels),
                if key.index { "yes" } else { "no" }.to_owned(),
                standing(key),
                key.note.to_string(),
            ]
        };
        print(header, keys.iter().map(cells), output)?;
        if threshold > 1 {
            writeln!(output.text(), "{threshold} keys have to sign an index")?;
        }
        Ok(Exit::Ok)
    }
}

impl Revoke {
    fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let trust = open(&self.home)?;
        let id = match self.key.parse::<KeyId>() {
            Ok(id) => id,
            Err(_) => {
                let key = keys::public(Path::new(&self.key))?;
                let known = trust.list().map_err(refused)?;
                // One of the same id may be somebody else's.
                if !known.iter().any(|trusted| trusted.key == key) {
                    return Err(refused(TrustError::NotFound { id: key.id() }).into());
                }
                key.id()
            }
        };
        let revoked = trust.revoke(id, self.why, SystemTime::now());
        revoked.map_err(refused)?;
        if output.is_json() {
            output.json(&json!({ "revoked": id }))?;
            return Ok(Exit::Ok);
        }
        writeln!(
            output.text(),
            "key {id} is revoked: nothing that it signed is installed any more"
        )?;
        Ok(Exit::Ok)
    }
}

impl Threshold {
    fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let count = usize::from(self.count);
        open(&self.home)?.set_threshold(count).map_err(refused)?;
        if output.is_json() {
            output.json(&json!({ "threshold": count }))?;
            return Ok(Exit::Ok);
        }
        writeln!(
            output.text(),
            "{count} different keys have to sign an index"
        )?;
        Ok(Exit::Ok)
    }
}

/// The trust store of a home directory.
pub(super) fn open(home: &Home) -> Result<plg_host::trust::Trust, Problem> {
    plg_host::trust::Trust::open(&home.trust()?).map_err(refused)
}

pub(super) fn refused(error: TrustError) -> Problem {
    Problem::from(&error)
}

/// A date, a moment, or how far away it is.
pub(super) fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.into());
    }
    if let Ok(date) = text.parse::<Date>() {
        let midnight = date.to_zoned(TimeZone::UTC);
        return Ok(midnight.map_err(|error| error.to_string())?.into());
    }
    let away: Duration = humantime::parse_duration(text).map_err(|_| {
        "it is no date such as `2028-01-01` and no time from now such as `90d`".to_owned()
    })?;
    let at = Zoned::now().checked_add(away);
    Ok(at.map_err(|error| error.to_string())?.into())
}

fn standing(key: &TrustedKey) -> String {
    match key.is_over(SystemTime::now()) {
        Some(Why::Revoked { when, why }) => {
            format!("revoked {} {why}", day(when)).trim_end().to_owned()
        }
        Some(_) => "expired".to_owned(),
        None => match key.expires {
            Some(until) => format!("until {}", day(until)),
            None => "trusted".to_owned(),
        },
    }
}

fn day(at: SystemTime) -> String {
    state::time(at).chars().take(10).collect()
}

fn document(key: &TrustedKey) -> Value {
    json!({
        "id": key.id(),
        "key": key.key,
        "note": key.note,
        "names": key.names,
        "levels": key.levels,
        "index": key.index,
        "added": state::time(key.added),
        "expires": key.expires.map(state::time),
        "revoked": key.revoked.as_ref().map(|revoked| json!({
            "when": state::time(revoked.when),
            "why": revoked.why,
        })),
        "in_force": key.is_over(SystemTime::now()).is_none(),
    })
}

fn words(list: &[impl ToString]) -> String {
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    words.join(", ")
}
