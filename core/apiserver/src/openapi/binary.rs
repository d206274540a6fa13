//! The part of the version 2 document that older clients insist on in protobuf (`openapiv2.Document`): which resources take
//! which parameters in a patch. Schemas are left out; such clients then use those they bring.

use super::{PATCH, info, root};
use crate::resource::ResourceDef;
use std::sync::Arc;

/// Media type by which clients ask for it.
pub(crate) const ACCEPTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// Media type of the answer: an `@` may not stand in one.
pub(crate) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document.
pub(crate) fn v2(resources: &[Arc<ResourceDef>]) -> Vec<u8> {
    let mut paths = Message::default();
    for def in resources.iter().filter(|d| d.stored()) {
        for version in &def.versions {
            let scope = if def.namespaced { "namespaces/{namespace}/" } else { "" };
            let path = format!("/{}/{scope}{}/{{name}}", root(def, version), def.plural);
            // NamedPathItem{name, value: PathItem{patch}}.
            let item = Message::default().message(8, patch(def, version));
            paths = paths.message(2, Message::default().text(1, &path).message(2, item));
        }
    }
    let text = |key: &str| info()[key].as_str().unwrap_or_default().to_owned();
    let info = Message::default().text(1, &text("title")).text(2, &text("version"));
    Message::default().text(1, "2.0").message(2, info).message(8, paths).0
}

/// An `Operation` with its query parameters and the kind it is for.
fn patch(def: &ResourceDef, version: &str) -> Message {
    let mut operation = Message::default();
    for (name, kind) in PATCH {
        let query = Message::default().text(2, "query").text(4, name).text(6, kind);
        // ParametersItem{parameter: Parameter{non_body_parameter: {query_parameter_sub_schema}}}.
        let parameter = Message::default().message(2, Message::default().message(3, query));
        operation = operation.message(8, Message::default().message(1, parameter));
    }
    let kind = format!("group: \"{}\"\nkind: {}\nversion: {version}\n", def.group, def.kind);
    let extension = Message::default()
        .text(1, "x-kubernetes-group-version-kind")
        .message(2, Message::default().text(2, &kind));
    operation.message(13, extension)
}

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u32, inner: Self) -> Self {
        self.bytes(field, &inner.0)
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}
