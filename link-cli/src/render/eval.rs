//! Walks the tree.

use super::RenderError;
use super::functions::{call, truth};
use super::lexer::error;
use super::parser::{Command, Defines, Expr, Node, Pipeline};
use serde_json::Value;

/// Include chains deeper than this are taken for endless ones.
const MAX_DEPTH: usize = 64;

/// Evaluates a template with `root` as its dot.
pub(super) fn evaluate(
    template: &str,
    nodes: &[Node],
    defines: &Defines,
    root: &Value,
) -> Result<String, RenderError> {
    run(template, nodes, defines, root, 0)
}

fn run(
    template: &str,
    nodes: &[Node],
    defines: &Defines,
    root: &Value,
    depth: usize,
) -> Result<String, RenderError> {
    let mut scope = Scope { template, defines, variables: vec![(String::new(), root.clone())], depth };
    let mut out = String::new();
    scope.nodes(nodes, root, &mut out)?;
    Ok(out)
}

struct Scope<'a> {
    template: &'a str,
    defines: &'a Defines,
    /// Innermost last; the first, without a name, is `$`.
    variables: Vec<(String, Value)>,
    depth: usize,
}

impl Scope<'_> {
    fn fail<T>(&self, line: usize, message: &str) -> Result<T, RenderError> {
        Err(error(self.template, line, message))
    }

    /// Runs a block; variables declared inside end with it.
    fn nodes(&mut self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), RenderError> {
        let outer = self.variables.len();
        for node in nodes {
            self.node(node, dot, out)?;
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value, out: &mut String) -> Result<(), RenderError> {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match text_of(&value) {
                    Some(text) => out.push_str(&text),
                    None => return self.fail(pipeline.line, "a list or a map is printed; use toYaml"),
                }
            }
            Node::Assign(name, declare, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if *declare {
                    self.variables.push((name.clone(), value));
                } else {
                    match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                        Some(slot) => slot.1 = value,
                        None => return self.fail(pipeline.line, &format!("${name} is not declared")),
                    }
                }
            }
            Node::If(arms, otherwise) => {
                for (condition, body) in arms {
                    if truth(&self.pipeline(condition, dot)?) {
                        return self.nodes(body, dot, out);
                    }
                }
                self.nodes(otherwise, dot, out)?;
            }
            Node::With(name, subject, body, otherwise) => {
                let value = self.pipeline(subject, dot)?;
                if !truth(&value) {
                    return self.nodes(otherwise, dot, out);
                }
                self.bound(name.iter().map(|n| (n.clone(), value.clone())).collect(), body, &value, out)?;
            }
            Node::Range(names, subject, body, otherwise) => {
                let items = self.items(subject, dot)?;
                if items.is_empty() {
                    return self.nodes(otherwise, dot, out);
                }
                for (key, value) in items {
                    let bound = match names.as_slice() {
                        [k, v] => vec![(k.clone(), key), (v.clone(), value.clone())],
                        [v] => vec![(v.clone(), value.clone())],
                        _ => Vec::new(),
                    };
                    self.bound(bound, body, &value, out)?;
                }
            }
        }
        Ok(())
    }

    fn bound(
        &mut self,
        variables: Vec<(String, Value)>,
        body: &[Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<(), RenderError> {
        let outer = self.variables.len();
        self.variables.extend(variables);
        self.nodes(body, dot, out)?;
        self.variables.truncate(outer);
        Ok(())
    }

    fn items(&mut self, subject: &Pipeline, dot: &Value) -> Result<Vec<(Value, Value)>, RenderError> {
        match self.pipeline(subject, dot)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(list) => Ok(list.into_iter().enumerate().map(|(i, v)| (i.into(), v)).collect()),
            Value::Object(map) => {
                // As in Go, in the order of the keys.
                let mut entries: Vec<(String, Value)> = map.into_iter().collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(entries.into_iter().map(|(k, v)| (k.into(), v)).collect())
            }
            _ => self.fail(subject.line, "range needs a list or a map"),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, RenderError> {
        let mut piped: Option<Value> = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot, pipeline.line)?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, RenderError> {
        let (name, arguments) = match command {
            Command::Value(expr) if piped.is_none() => return self.expr(expr, dot, line),
            Command::Value(_) => return self.fail(line, "only a function can stand after |"),
            Command::Call(name, arguments) => (name.as_str(), arguments),
        };
        if let "and" | "or" = name {
            return self.short_circuit(name == "or", arguments, piped, dot, line);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.expr(argument, dot, line)?);
        }
        values.extend(piped);
        if name == "include" {
            return self.include(&values, line);
        }
        call(name, &values).or_else(|message| self.fail(line, &message))
    }

    /// Later arguments are evaluated only where earlier ones do not decide, as in Go.
    fn short_circuit(
        &mut self,
        until: bool,
        arguments: &[Expr],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, RenderError> {
        let mut last = Value::Null;
        for argument in arguments {
            last = self.expr(argument, dot, line)?;
            if truth(&last) == until {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn include(&mut self, values: &[Value], line: usize) -> Result<Value, RenderError> {
        let [Value::String(name), dot] = values else {
            return self.fail(line, "include needs a name and a value");
        };
        let Some(nodes) = self.defines.get(name) else {
            return self.fail(line, &format!("no template is named {name:?}"));
        };
        if self.depth == MAX_DEPTH {
            return self.fail(line, &format!("template {name:?} includes itself"));
        }
        run(name, nodes, self.defines, dot, self.depth + 1).map(Value::String)
    }

    fn expr(&mut self, expr: &Expr, dot: &Value, line: usize) -> Result<Value, RenderError> {
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Field(path) => self.walk(dot, path, line),
            Expr::Variable(name, path) => match self.variables.iter().rev().find(|(n, _)| n == name) {
                Some((_, value)) => self.walk(value, path, line),
                None => self.fail(line, &format!("${name} is not declared")),
            },
            Expr::Group(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                self.walk(&value, path, line)
            }
        }
    }

    /// A missing key is nil; asking something of nil is an error, as in Helm.
    fn walk(&self, value: &Value, path: &[String], line: usize) -> Result<Value, RenderError> {
        let mut current = value;
        for key in path {
            current = match current {
                Value::Object(map) => map.get(key).unwrap_or(&Value::Null),
                _ => return self.fail(line, &format!("there is no .{key}: its parent is not a map")),
            };
        }
        Ok(current.clone())
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(s) => Some(s.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}
