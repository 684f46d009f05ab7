//! Codes of `plugin.json`.

use super::Actor::Author;
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("manifest.dependency", Author, "a dependency cannot be meant")
        .help("write names of other plugins with version requirements, for instance `\"text\": \"^1.2\"`")
        .text(
            "An entry of `dependencies` has no name of a plugin as its key, no version requirement as its value, or names the \
             plugin itself. The manifest is refused as a whole, because a plugin that cannot say what it needs would fail \
             later and less clearly.",
        ),
    error("manifest.field", Author, "a field has the wrong type or a value that is not allowed")
        .help("see the path and what is expected there in the message")
        .text(
            "The value at the JSON path of the message is not what the field takes: a number where a text is expected, a word \
             that is none of the known ones, a list that is too long, a `format` that is newer than this plg. All mistakes of the file are reported at once. The \
             schema in `packaging/plugin.schema.json` lets editors show them while you type.",
        ),
    error("manifest.identity", Author, "manifest, directory and library do not agree on the plugin's name")
        .help("give the directory, the manifest and the library the same name")
        .text(
            "A plugin is found by the name of its directory, described by its manifest and run from its library, and these \
             name different plugins. Most likely one of them was copied from elsewhere. Nothing was loaded, so that no plugin \
             answers under the name of another. The message shows both names.",
        ),
    error("manifest.json", Author, "the manifest is not one JSON document")
        .help("see the line and column in the message")
        .text(
            "The file is not JSON, has a key twice in one object, is nested too deeply, is not UTF-8, or is larger than a \
             megabyte. What comes after the first such mistake was not looked at, so there may be more. Comments and trailing \
             commas are not JSON.",
        ),
    error("manifest.label", Author, "a label is none, or is listed twice")
        .help("use letters, digits and `. _ : / -`, and list each label once")
        .text(
            "A label has 1 to 128 letters, digits and `. _ : / -`, because it is a part of URLs and log lines. As a warning: a \
             route leads to a label that `labels` does not list, and one of the two is probably misspelt.",
        ),
    error("manifest.missing_field", Author, "a required field is missing")
        .help("add the field that the message names; a manifest needs at least `name` and `version`")
        .text(
            "A field that has to be there is not, or is null, which counts as left out. The message has its JSON path. `plg new` \
             makes a manifest with all that is needed.",
        ),
    error("manifest.path", Author, "a path leaves the plugin's directory or cannot be meant")
        .help("give a path inside the plugin's directory, without `..`, or a repository that git can clone")
        .text(
            "A path in the manifest is absolute, goes up with `..`, has a backslash or names no library where one is expected; or \
             a repository has a form that git would take for an option or a program. A manifest may come from anywhere, so it \
             can only point to what came with it.",
        ),
    error("manifest.route_conflict", Author, "a route clashes with another or cannot be served")
        .help("give each pair of method and route once; write parameters as `/users/:id`")
        .text(
            "Two routes of the plugin would take the same requests, or a route or method is none that could be served. Which of two \
             answers would depend on their order, so neither does, and the manifest is refused.",
        ),
    warning("manifest.unknown_field", Author, "a field that nobody knows")
        .help("look for a misspelt name; remove the field if it is not needed")
        .text(
            "The manifest has a field that this version does not know. It is passed over with a warning, because a later version \
             may give it a meaning. Where security depends on it, as in `source` and `process`, it is an error: what is \
             misspelt there must not be passed over.",
        ),
    error("manifest.version", Author, "not a version or version requirement")
        .help("write versions as `1.2.3` and requirements as `^1.2`")
        .text(
            "A version or version requirement cannot be read. As a warning: it was written loosely, such as `v1.2`, and the message \
             says what it was read as. Upgrades compare versions, so it matters that they are read as they were meant.",
        ),
];
