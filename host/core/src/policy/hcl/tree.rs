//! The items of HCL 1.

use serde_json::{Map, Value};

use super::{
    MAX_DEPTH, Position, SyntaxError,
    lex::{Lexer, Token, error},
};

/// `key = value`, `key { … }` or `key "label" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) struct Item {
    /// Where it begins.
    pub(in crate::policy) at: Position,
    /// The key and the labels after it.
    pub(in crate::policy) keys: Vec<String>,
    /// What it holds.
    pub(in crate::policy) value: Node,
}

/// What an item holds.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) enum Node {
    /// A text, a number, a truth, or nothing.
    Plain(Value),
    /// A list.
    List(Vec<Node>),
    /// An object. Keys may stand in it several times.
    Object(Vec<Item>),
}

/// The items of a text.
///
/// # Errors
///
/// When it is not HCL.
pub(in crate::policy) fn parse(text: &str) -> Result<Vec<Item>, SyntaxError> {
    // Editors of some systems write it; neither HCL has it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { lexer: Lexer::new(text), peeked: None, depth: 0 };
    parser.items(None)
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    peeked: Option<(Position, Token)>,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<(Position, Token), SyntaxError> {
        match self.peeked.take() {
            Some(peeked) => Ok(peeked),
            None => self.lexer.token(),
        }
    }

    fn skip_comma(&mut self) -> Result<bool, SyntaxError> {
        let next = self.next()?;
        let is_comma = next.1 == Token::Sign(',');
        if !is_comma {
            self.peeked = Some(next);
        }
        Ok(is_comma)
    }

    /// Up to the brace that closes the one at `opened`, or up to the end of the text.
    fn items(&mut self, opened: Option<Position>) -> Result<Vec<Item>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            let (at, token) = self.next()?;
            match (token, opened) {
                (Token::End, None) | (Token::Sign('}'), Some(_)) => return Ok(items),
                (Token::End, Some(opened)) => return Err(error(opened, "the brace is not closed")),
                (Token::Word(key) | Token::Text(key), _) => items.push(self.item(at, key)?),
                (other, _) => return Err(error(at, format!("expected a key, found {}", other.named()))),
            }
            self.skip_comma()?;
        }
    }

    fn item(&mut self, at: Position, key: String) -> Result<Item, SyntaxError> {
        let mut keys = vec![key];
        loop {
            let (place, token) = self.next()?;
            let value = match token {
                Token::Word(label) | Token::Text(label) => {
                    keys.push(label);
                    continue;
                }
                Token::Sign('{') => self.object(place)?,
                // HCL 2 has the colon, in objects that are values.
                Token::Sign(sign @ ('=' | ':')) if keys.len() == 1 && (sign == '=' || self.depth > 1) => {
                    self.value()?
                }
                other => {
                    let key = keys.join("\" \"");
                    let wanted = if keys.len() == 1 { "= or {" } else { "{" };
                    return Err(error(
                        place,
                        format!("expected {wanted} after \"{key}\", found {}", other.named()),
                    ));
                }
            };
            return Ok(Item { at, keys, value });
        }
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        let (at, token) = self.next()?;
        self.value_of(at, token)
    }

    fn value_of(&mut self, at: Position, token: Token) -> Result<Node, SyntaxError> {
        Ok(Node::Plain(match token {
            Token::Text(text) | Token::Heredoc(text) => text.into(),
            Token::Number(number) => number.into(),
            Token::Word(word) if word == "true" => true.into(),
            Token::Word(word) if word == "false" => false.into(),
            Token::Word(word) if word == "null" => Value::Null,
            Token::Sign('{') => return self.object(at),
            Token::Sign('[') => return self.list(at),
            Token::Word(word) => {
                let why =
                    format!("{word:?} is no value: a text stands in quotes, and there are no expressions");
                return Err(error(at, why));
            }
            other => return Err(error(at, format!("expected a value, found {}", other.named()))),
        }))
    }

    fn object(&mut self, at: Position) -> Result<Node, SyntaxError> {
        self.deeper(at)?;
        let items = self.items(Some(at))?;
        self.depth -= 1;
        Ok(Node::Object(items))
    }

    fn list(&mut self, opened: Position) -> Result<Node, SyntaxError> {
        self.deeper(opened)?;
        let (mut nodes, mut needs_comma) = (Vec::new(), false);
        loop {
            if self.skip_comma()? {
                needs_comma = false;
                continue;
            }
            let (at, token) = self.next()?;
            match token {
                Token::Sign(']') => {
                    self.depth -= 1;
                    return Ok(Node::List(nodes));
                }
                Token::End => return Err(error(opened, "the bracket is not closed")),
                other if needs_comma => {
                    return Err(error(at, format!("expected a comma or ], found {}", other.named())));
                }
                other => nodes.push(self.value_of(at, other)?),
            }
            needs_comma = true;
        }
    }

    fn deeper(&mut self, at: Position) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(error(at, format!("brackets are nested at most {MAX_DEPTH} deep")));
        }
        Ok(())
    }
}

impl Node {
    /// As JSON.
    ///
    /// # Errors
    ///
    /// When a key has labels, or stands twice in one object.
    pub(in crate::policy) fn json(self) -> Result<Value, SyntaxError> {
        Ok(match self {
            Self::Plain(value) => value,
            Self::List(nodes) => Value::Array(nodes.into_iter().map(Self::json).collect::<Result<_, _>>()?),
            Self::Object(items) => {
                let mut object = Map::new();
                for item in items {
                    item.add_to(&mut object)?;
                }
                Value::Object(object)
            }
        })
    }
}

impl Item {
    /// Its one key.
    ///
    /// # Errors
    ///
    /// When it has labels.
    pub(in crate::policy) fn key(&self) -> Result<&str, SyntaxError> {
        match self.keys.as_slice() {
            [key] => Ok(key),
            _ => Err(error(self.at, format!("{} has no labels here", self.keys.join(" ")))),
        }
    }

    /// Adds it to an object.
    ///
    /// # Errors
    ///
    /// When it has labels, or its key is there.
    pub(in crate::policy) fn add_to(self, object: &mut Map<String, Value>) -> Result<(), SyntaxError> {
        let (at, key) = (self.at, self.key()?.to_owned());
        match object.insert(key.clone(), self.value.json()?) {
            None => Ok(()),
            Some(_) => Err(error(at, format!("{key} is a duplicate"))),
        }
    }
}
