//! `docs/openapi.json` says what the program does: every path, every field, none more.
//!
//! Fails when a path or a field is added, renamed or removed without the document.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ringbolt_harness::raw::{Backend, Wire};
use ringbolt_harness::{Options, Ringbolt};
use serde_json::{Map, Value, json};

/// The files with routes of the admin address and socket.
const ROUTERS: [&str; 3] = ["proxy/src/admin.rs", "proxy/src/orders.rs", "proxy/src/status/pages.rs"];
/// The status page itself.
const ASSETS: [&str; 3] = ["/", "/status.css", "/status.js"];
/// What is answered with an object, or a list of them, and its schema.
const ANSWERS: [(&str, &str); 4] =
    [("/status", "Status"), ("/backends", "Backend"), ("/config", "Config"), ("/sessions", "Sessions")];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document() -> Value {
    serde_json::from_str(&read("docs/openapi.json")).expect("JSON")
}

/// Each path with its method in lower case.
fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |(path, methods): (&String, &Value)| {
        let methods: Vec<String> = methods.as_object().expect("methods").keys().cloned().collect();
        methods.into_iter().map(move |method| (path.clone(), method)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

#[test]
fn every_route_is_documented_and_no_other() {
    let mut routes = BTreeSet::new();
    for file in ROUTERS {
        let source = read(file);
        let source = source.split("#[cfg(test)]\nmod tests {").next().expect("a beginning");
        for route in source.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').expect("a path");
            let method = rest.trim_start_matches([',', ' ']).split('(').next().expect("a method");
            if !ASSETS.contains(&path) {
                routes.insert((path.to_owned(), method.to_owned()));
            }
        }
    }
    assert_eq!(routes, documented(&document()));
}

/// A value of no type that any field has.
fn wrong() -> Value {
    json!({ "wrong": [] })
}

#[test]
fn every_field_is_documented_and_every_documented_one_is_read() {
    let document = document();
    let backend = Backend::named("a");
    let config = format!(
        "[admin]\ntoken_file = \"token\"\nsocket = \"FOLDER/admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.u]\nbackends = [\"{}\"]\n",
        backend.address()
    );
    // The token is beside a configuration that is not there before the start.
    let ringbolt = Ringbolt::start(&Options {
        config: Some(config.replace("token_file = \"token\"\n", "")),
        ..Options::new(env!("CARGO_BIN_EXE_ringbolt"), &[])
    });
    fs::write(ringbolt.folder().join("token"), TOKEN).expect("write the token");
    let with_token = ringbolt.configuration().replace("[admin]\n", "[admin]\ntoken_file = \"token\"\n");
    ringbolt.configure(&with_token);
    assert_eq!(ringbolt.order(&["reload"]).0, Some(0));
    let ask = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let fields = format!("Host: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json");
        let request =
            format!("{method} {path} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = Wire::connect(ringbolt.admin()).exchange(request);
        (answer.status(), answer.text())
    };
    for (path, schema) in ANSWERS {
        let method = if document["paths"][path]["get"].is_object() { "GET" } else { "POST" };
        let (status, text) = ask(method, path, "{}");
        assert_eq!(status, 200, "{path}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let object =
            answer.as_array().map_or(&answer, |list| &list[0]).as_object().expect("an object").clone();
        let names = |object: &Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
        let schema = document["components"]["schemas"][schema]["properties"].as_object().expect("properties");
        assert_eq!(names(&object), names(schema), "{path}");
    }
    for (path, _) in documented(&document).into_iter().filter(|(_, method)| method == "post") {
        let schema =
            &document["paths"][&path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let Some(properties) = schema["properties"].as_object() else { continue };
        let valid: Map<String, Value> = properties
            .iter()
            .map(|(name, property)| {
                let first = &property["enum"][0];
                let value = match property["type"].as_str() {
                    Some("integer") => json!(1),
                    Some("boolean") => json!(false),
                    _ if first.is_string() => first.clone(),
                    _ => json!("nobody"),
                };
                (name.clone(), value)
            })
            .collect();
        for name in properties.keys() {
            let mut body = valid.clone();
            body.insert(name.clone(), wrong());
            let (status, text) = ask("POST", &path, &Value::Object(body).to_string());
            assert!(status == 422 && text.contains(name), "{path} {name}: {status} {text}");
        }
        let required: Vec<&str> =
            schema["required"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        for name in properties.keys() {
            let mut body = valid.clone();
            body.remove(name);
            let (_, text) = ask("POST", &path, &Value::Object(body).to_string());
            assert_eq!(
                text.contains("missing field"),
                required.contains(&name.as_str()),
                "{path} {name}: {text}"
            );
        }
    }
}
