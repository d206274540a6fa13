//! Tokens into a tree.

use super::RenderError;
use super::lexer::{Piece, Token, error, pieces};
use serde_json::Value;
use std::collections::BTreeMap;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Literal text.
    Text(String),
    /// `{{ pipeline }}`.
    Print(Pipeline),
    /// `{{ $x := pipeline }}`, or `=` where the flag is false.
    Assign(String, bool, Pipeline),
    /// `{{ if }}…{{ else if }}…{{ else }}…{{ end }}`.
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    /// `{{ with $x := pipeline }}`: variable, subject, body, else.
    With(Option<String>, Pipeline, Vec<Node>, Vec<Node>),
    /// `{{ range $k, $v := pipeline }}`: variables, subject, body, else.
    Range(Vec<String>, Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands joined by `|`, each result becoming the last argument of the next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) commands: Vec<Command>,
    pub(super) line: usize,
}

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// A value.
    Value(Expr),
    /// A function and its arguments.
    Call(String, Vec<Expr>),
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// A constant.
    Literal(Value),
    /// `.a.b`.
    Field(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    /// `(pipeline).a.b`.
    Group(Box<Pipeline>, Vec<String>),
}

/// Templates by name.
pub(super) type Defines = BTreeMap<String, Vec<Node>>;

/// Parses a file, adding its `define`s to `defines`.
pub(super) fn parse(template: &str, text: &str, defines: &mut Defines) -> Result<Vec<Node>, RenderError> {
    let mut parser = Parser { template, pieces: pieces(template, text)?.into_iter(), defines, line: 1 };
    let (nodes, end) = parser.block()?;
    match end {
        End::File => Ok(nodes),
        End::Else(..) | End::Close => Err(error(template, parser.line, "else or end without a beginning")),
    }
}

struct Parser<'a> {
    template: &'a str,
    pieces: std::vec::IntoIter<Piece>,
    defines: &'a mut Defines,
    line: usize,
}

/// What ended a block.
enum End {
    File,
    Close,
    /// The tokens after `else`.
    Else(Vec<Token>),
}

impl Parser<'_> {
    fn fail<T>(&self, message: &str) -> Result<T, RenderError> {
        Err(error(self.template, self.line, message))
    }

    fn block(&mut self) -> Result<(Vec<Node>, End), RenderError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            self.line = line;
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match keyword {
                "end" => return Ok((nodes, End::Close)),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
                "if" => nodes.push(self.conditional(&tokens[1..])?),
                "with" => nodes.push(self.with(&tokens[1..])?),
                "range" => nodes.push(self.range(&tokens[1..])?),
                "define" => self.define(&tokens[1..])?,
                "template" | "block" | "break" | "continue" => {
                    return self.fail(&format!("{keyword} is not part of the template subset; use include"));
                }
                _ => nodes.push(self.statement(&tokens)?),
            }
        }
        Ok((nodes, End::File))
    }

    fn statement(&mut self, tokens: &[Token]) -> Result<Node, RenderError> {
        let (names, rest) = self.binding(tokens)?;
        let declared = tokens.get(1) != Some(&Token::Mark("="));
        let pipeline = self.pipeline(rest)?;
        match names.as_slice() {
            [] => Ok(Node::Print(pipeline)),
            [name] => Ok(Node::Assign(name.clone(), declared, pipeline)),
            _ => self.fail("only range may set two variables"),
        }
    }

    /// `$x :=`, `$x =` or `$k, $v :=` at the beginning, and what follows.
    fn binding<'t>(&self, tokens: &'t [Token]) -> Result<(Vec<String>, &'t [Token]), RenderError> {
        let name = |t: &Token| match t {
            Token::Variable(name, path) if path.is_empty() && !name.is_empty() => Some(name.clone()),
            _ => None,
        };
        match tokens {
            [first, Token::Mark(":=" | "="), rest @ ..] => match name(first) {
                Some(name) => Ok((vec![name], rest)),
                None => self.fail("only a variable such as $x can be set"),
            },
            [first, Token::Mark(","), second, Token::Mark(":="), rest @ ..] => {
                match (name(first), name(second)) {
                    (Some(a), Some(b)) => Ok((vec![a, b], rest)),
                    _ => self.fail("only variables such as $k, $v can be set"),
                }
            }
            _ => Ok((Vec::new(), tokens)),
        }
    }

    fn conditional(&mut self, tokens: &[Token]) -> Result<Node, RenderError> {
        let mut arms = Vec::new();
        let mut condition = self.pipeline(tokens)?;
        loop {
            let (body, end) = self.block()?;
            arms.push((condition, body));
            match end {
                End::File => return self.fail("if has no end"),
                End::Close => return Ok(Node::If(arms, Vec::new())),
                End::Else(rest) if rest.is_empty() => return Ok(Node::If(arms, self.last_block("if")?)),
                End::Else(rest) => match rest.split_first() {
                    Some((Token::Word(word), rest)) if word == "if" => condition = self.pipeline(rest)?,
                    _ => return self.fail("expected: else, or else if"),
                },
            }
        }
    }

    fn with(&mut self, tokens: &[Token]) -> Result<Node, RenderError> {
        let (mut names, rest) = self.binding(tokens)?;
        let subject = self.pipeline(rest)?;
        let (body, otherwise) = self.two_blocks("with")?;
        Ok(Node::With(names.pop(), subject, body, otherwise))
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Node, RenderError> {
        let (names, rest) = self.binding(tokens)?;
        let subject = self.pipeline(rest)?;
        let (body, otherwise) = self.two_blocks("range")?;
        Ok(Node::Range(names, subject, body, otherwise))
    }

    fn define(&mut self, tokens: &[Token]) -> Result<(), RenderError> {
        let [Token::Literal(Value::String(name))] = tokens else {
            return self.fail("define needs a quoted name");
        };
        let body = self.last_block("define")?;
        self.defines.insert(name.clone(), body);
        Ok(())
    }

    fn two_blocks(&mut self, keyword: &str) -> Result<(Vec<Node>, Vec<Node>), RenderError> {
        let (body, end) = self.block()?;
        match end {
            End::Close => Ok((body, Vec::new())),
            End::Else(rest) if rest.is_empty() => Ok((body, self.last_block(keyword)?)),
            End::Else(_) => self.fail(&format!("{keyword} takes a plain else")),
            End::File => self.fail(&format!("{keyword} has no end")),
        }
    }

    fn last_block(&mut self, keyword: &str) -> Result<Vec<Node>, RenderError> {
        match self.block()? {
            (body, End::Close) => Ok(body),
            _ => self.fail(&format!("{keyword} has no end")),
        }
    }

    fn pipeline(&self, tokens: &[Token]) -> Result<Pipeline, RenderError> {
        let mut rest = tokens;
        let pipeline = self.commands(&mut rest)?;
        match rest {
            [] => Ok(pipeline),
            _ => self.fail("unbalanced parentheses"),
        }
    }

    /// Commands up to the end or a closing parenthesis.
    fn commands(&self, rest: &mut &[Token]) -> Result<Pipeline, RenderError> {
        let mut commands = Vec::new();
        loop {
            commands.push(self.command(rest)?);
            match rest.split_first() {
                Some((Token::Mark("|"), after)) => *rest = after,
                _ => return Ok(Pipeline { commands, line: self.line }),
            }
        }
    }

    fn command(&self, rest: &mut &[Token]) -> Result<Command, RenderError> {
        if let Some((Token::Word(name), after)) = rest.split_first() {
            *rest = after;
            let mut arguments = Vec::new();
            while let Some(argument) = self.operand(rest)? {
                arguments.push(argument);
            }
            return Ok(Command::Call(name.clone(), arguments));
        }
        match self.operand(rest)? {
            Some(value) => Ok(Command::Value(value)),
            None => self.fail("expected a value"),
        }
    }

    fn operand(&self, rest: &mut &[Token]) -> Result<Option<Expr>, RenderError> {
        let Some((token, after)) = rest.split_first() else { return Ok(None) };
        let expr = match token {
            Token::Literal(value) => Expr::Literal(value.clone()),
            Token::Field(path, _) => Expr::Field(path.clone()),
            Token::Variable(name, path) => Expr::Variable(name.clone(), path.clone()),
            // A function name alone is a call without arguments, such as `list`.
            Token::Word(name) => {
                let commands = vec![Command::Call(name.clone(), Vec::new())];
                Expr::Group(Box::new(Pipeline { commands, line: self.line }), Vec::new())
            }
            Token::Mark("(") => {
                *rest = after;
                let inner = self.commands(rest)?;
                let Some((Token::Mark(")"), after)) = rest.split_first() else {
                    return self.fail("( has no matching )");
                };
                *rest = after;
                let mut path = Vec::new();
                if let Some((Token::Field(fields, true), after)) = rest.split_first() {
                    path = fields.clone();
                    *rest = after;
                }
                return Ok(Some(Expr::Group(Box::new(inner), path)));
            }
            Token::Mark(_) => return Ok(None),
        };
        *rest = after;
        Ok(Some(expr))
    }
}
