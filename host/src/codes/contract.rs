//! Codes of contracts, and of plugins written for Skarlso's go-plugin-framework.

use super::Actor::{Author, Developer, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("contract.ambiguous", Developer, "several plugins offer a contract")
        .help("ask for a type of it with `Contract::of_type`, or pick one of `Contract::offers`")
        .text(
            "More than one plugin offers what was asked for, and none of them is compiled into the app, or several are. The \
             host does not guess. The message names them all. What is compiled into the app wins over the others.",
        ),
    error("contract.capabilities", Operator, "a program does not say what it offers")
        .help("run the program with the word `capabilities`, and compare with host/CONTRACTS.md")
        .text(
            "A plugin of the framework is run with the word `capabilities` before it is loaded, and prints one JSON document \
             within ten seconds. This program did not: it is something else, failed, hung, or printed something that cannot be \
             read. The message has its words. It was not loaded.",
        ),
    error("contract.config", Operator, "a plugin asks for configuration that there is none of")
        .help("configure the types that the message names, or let plugins be given all types")
        .text(
            "The plugin says which types of configuration it needs, and the host was told to give it these alone. Some of them \
             are not configured. The plugin was not loaded.",
        ),
    error("contract.name", Operator, "a file is not called as a plugin can be")
        .help("rename the file: letters, digits, `-` and `_`, and no dot")
        .text(
            "Plugins without a plugin.json are called as their file. A name with a dot is passed over, as the framework does, and \
             so is one that no plugin can have or that another file in the same directory tree has. The program was not run.",
        ),
    error("contract.not_found", Developer, "no plugin offers a contract")
        .help("load a plugin that offers it; the message says which contracts there are")
        .text(
            "Contracts are offered by plugins that are loaded: programs of the framework say so when they are asked for their \
             capabilities, and what is compiled into the app says so as well. Nobody offers this one. Names are compared exactly.",
        ),
    error("contract.payload", Developer, "the values of a call do not fit the schema of its type")
        .help("compare the values with the schema of the type, or call the plugin's handle to go without")
        .text(
            "The plugin declares a JSON Schema for that type, and the values, as one JSON object, do not fit. The message lists \
             every place that does not. The plugin was not called.",
        ),
    error("contract.schema", Author, "the schema of a type is not usable")
        .help("write a schema that stands alone, without references to other documents")
        .text(
            "The plugin declares something for that type that is no JSON Schema, or one that refers to something outside of \
             itself, or that is too large once what it refers to is written out. Nothing is fetched or read for a plugin's schema. The plugin was not called; its handle can be, without \
             a check.",
        ),
    error("contract.status", Author, "a plugin answered a call with an error")
        .help("read the plugin's words in the message")
        .text(
            "The plugin's endpoint answered with a status that is not success: 200, or any up to 299 if the options say so. The \
             message has the status and what the plugin said. Values stayed as they were.",
        ),
    error("contract.type", Developer, "nobody offers a type of a contract")
        .help("ask for one of the types that the message lists")
        .text(
            "The contract is offered, and not in this type. Types are the plugins' own labels, and are compared exactly.",
        ),
];
