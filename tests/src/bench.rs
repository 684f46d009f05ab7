//! What benches share: two sides measured in turns, the table, and the JSON.
//!
//! A ratio is only worth something when both of its sides saw the same machine. So the sides take turns
//! in short rounds, each round begins with the other side, and what counts is the median of each.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One bench: rows are added as they are measured and printed at the end.
#[derive(Debug)]
pub struct Bench {
    name: &'static str,
    rows: Vec<Row>,
    json: bool,
    /// Only rows whose name contains one of these; all without any.
    wanted: Vec<String>,
    /// Whether this is `cargo bench` and not a test that the bench runs at all.
    thorough: bool,
}

#[derive(Debug)]
struct Row {
    name: String,
    ours: f64,
    against: Option<(String, f64)>,
    reach: Reach,
    counts: BTreeMap<&'static str, u64>,
}

/// What a row should stay within. It is printed and never asserted: time depends on the machine.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// Our time over the other side's.
    Ratio(f64),
    /// Our time.
    Time(Duration),
}

impl Bench {
    /// A bench that is told by the program's arguments what to print.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        Self {
            name,
            rows: Vec::new(),
            json: has("--json"),
            thorough: has("--bench"),
            wanted: arguments
                .into_iter()
                .filter(|argument| !argument.starts_with('-'))
                .collect(),
        }
    }

    /// Whether this row was asked for.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| name.contains(wanted))
    }

    /// How many rounds to run of `rounds`: a few when this is only a test that the bench runs.
    #[must_use]
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.thorough { rounds } else { 3 }
    }

    /// Measures `ours` and `against` in turns. Both return nanoseconds per operation.
    pub fn compare(
        &mut self,
        (name, reach): (&str, f64),
        rounds: usize,
        mut ours: impl FnMut() -> f64,
        against: &str,
        mut theirs: impl FnMut() -> f64,
    ) {
        if !self.wants(name) {
            return;
        }
        let rounds = self.rounds(rounds);
        let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
        for round in 0..rounds + rounds.div_ceil(10) {
            // What a round finds in the caches is what the other side left there, for both alike.
            let (our_time, their_time) = if round % 2 == 0 {
                let our_time = ours();
                (our_time, theirs())
            } else {
                let their_time = theirs();
                (ours(), their_time)
            };
            // The first tenth warms up.
            if round >= rounds.div_ceil(10) {
                our_times.push(our_time);
                their_times.push(their_time);
            }
        }
        self.rows.push(Row {
            name: name.to_owned(),
            ours: median(our_times),
            against: Some((against.to_owned(), median(their_times))),
            reach: Reach::Ratio(reach),
            counts: BTreeMap::new(),
        });
    }

    /// Adds a row that is compared with nothing: the median of `times` in nanoseconds, and what was
    /// counted while they were taken.
    pub fn absolute<const N: usize>(
        &mut self,
        (name, reach): (&str, Duration),
        times: Vec<f64>,
        counts: [(&'static str, u64); N],
    ) {
        self.rows.push(Row {
            name: name.to_owned(),
            ours: median(times),
            against: None,
            reach: Reach::Time(reach),
            counts: counts.into(),
        });
    }

    /// Prints the table, or the JSON when that was asked for.
    ///
    /// # Panics
    ///
    /// When standard output is gone.
    pub fn print(&self) {
        let text = if self.json {
            self.to_json().to_string()
        } else {
            self.to_table()
        };
        say(&text);
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({ "bench": self.name, "rows": rows })
    }

    fn to_table(&self) -> String {
        let head = [
            "name", "ours", "against", "its time", "ratio", "reach", "met",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        lines.push(head.map(|_| "---".to_owned()));
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut table = String::new();
        for line in &lines {
            for (cell, width) in line.iter().zip(&widths) {
                table += &format!("| {cell:width$} ");
            }
            table += "|\n";
        }
        for row in self.rows.iter().filter(|row| !row.counts.is_empty()) {
            let counts = row.counts.iter();
            let counts: Vec<String> = counts.map(|(what, n)| format!("{n} {what}")).collect();
            table += &format!("\n{}: {}\n", row.name, counts.join(", "));
        }
        table
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.against.as_ref().map(|(_, time)| self.ours / time)
    }

    fn is_met(&self) -> bool {
        match self.reach {
            Reach::Ratio(reach) => self.ratio().is_some_and(|ratio| ratio <= reach),
            Reach::Time(reach) => self.ours <= reach.as_nanos() as f64,
        }
    }

    fn cells(&self) -> [String; 7] {
        let (against, time) = match &self.against {
            Some((name, time)) => (name.clone(), readable(*time)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let reach = match self.reach {
            Reach::Ratio(reach) => format!("{reach}x"),
            Reach::Time(reach) => format!("{reach:?}"),
        };
        let ratio = self.ratio();
        [
            self.name.clone(),
            readable(self.ours),
            against,
            time,
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x")),
            reach,
            if self.is_met() { "yes" } else { "no" }.to_owned(),
        ]
    }

    /// `reach` is a ratio, or nanoseconds in a row that is compared with nothing.
    fn to_json(&self) -> Value {
        let mut row = json!({
            "name": self.name,
            "median_ns": rounded(self.ours),
            "against": self.against.as_ref().map(|(name, _)| name),
            "against_ns": self.against.as_ref().map(|(_, time)| rounded(*time)),
            "ratio": self.ratio().map(rounded),
            "reach": match self.reach {
                Reach::Ratio(reach) => reach,
                Reach::Time(reach) => reach.as_nanos() as f64,
            },
        });
        if !self.counts.is_empty() {
            row["counts"] = json!(self.counts);
        }
        row
    }
}

/// Prints a line.
///
/// # Panics
///
/// When standard output is gone.
pub fn say(text: &str) {
    writeln!(io::stdout().lock(), "{text}").expect("standard output takes the result");
}

/// Nanoseconds per call of `calls` calls in a row: a single one is shorter than reading the clock.
#[inline(always)]
pub fn per_call(calls: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    nanos(start.elapsed()) / f64::from(calls)
}

/// Nanoseconds that `act` takes, without dropping what it returns.
pub fn once<T>(act: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let outcome = act();
    (nanos(start.elapsed()), outcome)
}

/// A length of time in nanoseconds.
#[must_use]
pub fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// The middle one; 0 of none.
#[must_use]
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Three digits and a unit.
fn readable(nanos: f64) -> String {
    let (number, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}
