//! `/hooks`: the programs to execute at each point of the container's life, ready for execve.

use std::ffi::CString;

use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};

use super::c_string::{c_string, c_strings};
use crate::error::{Faults, Result};
use crate::spec::ConfigError;

/// The hooks of every kind, each in the order in which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Deprecated since 1.0.2 of the specification; runs right before `create_runtime`.
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// One program to execute. It is kept in state.json, because `start` and `delete` run hooks too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Remembered", try_from = "Remembered")]
pub struct Hook {
    pub path: CString,
    /// All of argv, verbatim; never empty.
    pub args: Vec<CString>,
    /// The whole environment, in its order; `None` for the environment of whoever runs the hook.
    pub env: Option<Vec<CString>>,
    /// In seconds.
    pub timeout: Option<u32>,
}

/// A hook in JSON. config.json is UTF-8, so nothing is lost.
#[derive(Serialize, Deserialize)]
struct Remembered {
    path: String,
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<u32>,
}

impl From<Hook> for Remembered {
    fn from(hook: Hook) -> Self {
        let text = |text: &CString| text.to_string_lossy().into_owned();
        let texts = |texts: &Vec<CString>| texts.iter().map(text).collect();
        Self {
            path: text(&hook.path),
            args: texts(&hook.args),
            env: hook.env.as_ref().map(texts),
            timeout: hook.timeout,
        }
    }
}

impl TryFrom<Remembered> for Hook {
    type Error = std::ffi::NulError;

    fn try_from(hook: Remembered) -> Result<Self, Self::Error> {
        let c_strings = |texts: Vec<String>| texts.into_iter().map(CString::new).collect();
        Ok(Self {
            path: CString::new(hook.path)?,
            args: c_strings(hook.args)?,
            env: hook.env.map(c_strings).transpose()?,
            timeout: hook.timeout,
        })
    }
}

/// Plans the hooks of a configuration.
///
/// # Errors
/// A fault at the field of the first hook that no kernel could execute.
pub(crate) fn plan_hooks(spec: Option<&oci::Hooks>) -> Result<Hooks> {
    let Some(spec) = spec else { return Ok(Hooks::default()) };
    // It is deprecated, but Docker's network still uses it.
    #[allow(deprecated)]
    let prestart = spec.prestart();
    let mut faults = Faults::default();
    let mut list = |kind: &str, hooks: Option<&[oci::Hook]>| {
        let numbered = hooks.unwrap_or_default().iter().enumerate();
        let hooks = numbered.map(|(index, hook)| hook_at(hook, &format!("/hooks/{kind}/{index}")));
        faults.keep(Faults::collect(hooks)).unwrap_or_default()
    };
    let hooks = Hooks {
        prestart: list("prestart", prestart.as_deref()),
        create_runtime: list("createRuntime", spec.create_runtime().as_deref()),
        create_container: list("createContainer", spec.create_container().as_deref()),
        start_container: list("startContainer", spec.start_container().as_deref()),
        poststart: list("poststart", spec.poststart().as_deref()),
        poststop: list("poststop", spec.poststop().as_deref()),
    };
    faults.into_result(hooks)
}

fn hook_at(hook: &oci::Hook, at: &str) -> Result<Hook> {
    let path = c_string(hook.path(), || format!("{at}/path"))?;
    let args = match hook.args().as_deref() {
        None | Some([]) => vec![path.clone()],
        Some(args) => c_strings(args, &format!("{at}/args"))?,
    };
    let env = hook.env().as_deref().map(|env| c_strings(env, &format!("{at}/env"))).transpose()?;
    let timeout = hook.timeout().map(|seconds| timeout(seconds, at)).transpose()?;
    Ok(Hook { path, args, env, timeout })
}

/// Checks a timeout. A number that is too large means more than a century, so it is replaced by the largest.
fn timeout(seconds: i64, at: &str) -> Result<u32, ConfigError> {
    if seconds <= 0 {
        return Err(ConfigError::new(format!("{at}/timeout"), "must be greater than 0"));
    }
    Ok(u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<Hooks, String> {
        plan_hooks(Some(&serde_json::from_str(json).unwrap())).map_err(|error| error.to_string())
    }

    fn c(texts: &[&str]) -> Vec<CString> {
        texts.iter().map(|text| CString::new(*text).unwrap()).collect()
    }

    fn only(json: &str) -> Hook {
        planned(&format!(r#"{{"poststop": [{json}]}}"#)).unwrap().poststop.remove(0)
    }

    #[test]
    fn no_hooks_are_no_hooks() {
        assert_eq!(plan_hooks(None).unwrap(), Hooks::default());
        assert_eq!(planned("{}"), Ok(Hooks::default()));
    }

    #[test]
    fn every_kind_keeps_its_own_list_in_order() {
        let kinds =
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
        let json: Vec<String> = kinds
            .iter()
            .map(|kind| format!(r#""{kind}": [{{"path": "/{kind}0"}}, {{"path": "/{kind}1"}}]"#))
            .collect();
        let all = planned(&format!("{{{}}}", json.join(","))).unwrap();
        let lists = [
            &all.prestart,
            &all.create_runtime,
            &all.create_container,
            &all.start_container,
            &all.poststart,
            &all.poststop,
        ];
        for (kind, list) in kinds.iter().zip(lists) {
            let paths: Vec<_> = list.iter().map(|hook| hook.path.to_str().unwrap().to_owned()).collect();
            assert_eq!(paths, [format!("/{kind}0"), format!("/{kind}1")]);
        }
    }

    #[test]
    fn arguments_are_verbatim_and_else_the_path() {
        let cases: &[(&str, &[&str])] = &[
            (r#"{"path": "/a"}"#, &["/a"]),
            (r#"{"path": "/a", "args": []}"#, &["/a"]),
            (r#"{"path": "/a", "args": ["b"]}"#, &["b"]),
            (r#"{"path": "/a", "args": ["", "-x", "ü y"]}"#, &["", "-x", "ü y"]),
        ];
        for (json, args) in cases {
            assert_eq!(only(json).args, c(args), "{json}");
        }
    }

    #[test]
    fn an_environment_is_exact_and_an_empty_one_is_not_none() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            (r#"{"path": "/a"}"#, None),
            (r#"{"path": "/a", "env": []}"#, Some(&[])),
            (r#"{"path": "/a", "env": ["B=2", "A=1", "B=3", "C"]}"#, Some(&["B=2", "A=1", "B=3", "C"])),
        ];
        for (json, env) in cases {
            assert_eq!(only(json).env, env.map(c), "{json}");
        }
    }

    #[test]
    fn a_timeout_is_positive_and_a_huge_one_as_good_as_the_longest() {
        let cases = [(1, Ok(1)), (3600, Ok(3600)), (i64::MAX, Ok(u32::MAX)), (0, Err(())), (-1, Err(()))];
        for (seconds, expected) in cases {
            let json = format!(r#"{{"poststart": [{{"path": "/a", "timeout": {seconds}}}]}}"#);
            match (planned(&json), expected) {
                (Ok(hooks), Ok(timeout)) => assert_eq!(hooks.poststart[0].timeout, Some(timeout)),
                (Err(fault), Err(())) => {
                    assert!(fault.starts_with("/hooks/poststart/0/timeout: "), "{fault}");
                }
                other => panic!("{seconds}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_nul_is_a_fault_at_its_place() {
        let cases = [
            (r#"{"path": "/a\u0000"}"#, "path"),
            (r#"{"path": "/a", "args": ["a", "\u0000"]}"#, "args/1"),
            (r#"{"path": "/a", "env": ["A=\u0000"]}"#, "env/0"),
        ];
        for (json, place) in cases {
            let json = format!(r#"{{"createRuntime": [{{"path": "/"}}, {json}]}}"#);
            let fault = planned(&json).unwrap_err();
            assert!(fault.starts_with(&format!("/hooks/createRuntime/1/{place}: ")), "{fault}");
        }
    }

    #[test]
    fn a_hook_is_remembered_as_it_was() {
        let cases = [
            r#"{"path": "/a"}"#,
            r#"{"path": "/ü \"", "args": ["x", "\n\\"], "env": [], "timeout": 7}"#,
            r#"{"path": "/a", "args": [""], "env": ["A=\u0001", "A=ß"]}"#,
        ];
        for json in cases {
            let hook = only(json);
            let text = serde_json::to_string(&hook).unwrap();
            assert_eq!(serde_json::from_str::<Hook>(&text).unwrap(), hook, "{text}");
        }
        assert!(serde_json::from_str::<Hook>(r#"{"path": "/a\u0000", "args": []}"#).is_err());
    }
}
