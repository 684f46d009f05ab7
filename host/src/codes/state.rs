//! Codes of what outlives a host.

use super::Actor::Operator;
use super::{Code, warning};

pub(super) const ROWS: &[Code] = &[
    warning("history.unwritable", Operator, "the history cannot be written down")
        .help("make room on the disk, or look at owner and mode of the path in the message")
        .text(
            "A plugin was loaded, upgraded or unloaded, and the line about it cannot be added to `history.jsonl` in the state \
             directory. The change itself is done, and the host keeps the entry in memory. Every further change tries again, \
             and the first line that is written says how many are missing before it.",
        ),
    warning("quarantine.unreadable", Operator, "the list of quarantined digests cannot be read")
        .help("look at the file in the message; `native.quarantined` says what it is for")
        .text(
            "The file `quarantine.json` in the state directory is damaged, is of a newer version of plg, or cannot be opened. A \
             damaged one is set aside under another name, and the entries that can be read stay in force. Any other is left as \
             it is, and what this host quarantines holds for this host alone. A build that crashed earlier may be loaded again \
             if its entry is lost.",
        ),
    warning("quarantine.unwritable", Operator, "the list of quarantined digests cannot be written")
        .help("make room on the disk, or look at owner and mode of the path in the message")
        .text(
            "A digest was added to the quarantine or cleared, and the file `quarantine.json` in the state directory cannot be \
             replaced. For this host the change holds; others, and the next one, do not know of it. It is written with the next \
             change that works.",
        ),
];
