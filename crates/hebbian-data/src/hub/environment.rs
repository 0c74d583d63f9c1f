//! Settings of the hub in the environment, read as Python's `huggingface_hub` 2.4 and `datasets` 5.2 read them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::online::Patience;

/// The address of the hub, unless `HF_ENDPOINT` gives another.
const HUB: &str = "https://huggingface.co";

/// All settings that environment variables determine.
#[derive(Debug, PartialEq)]
pub(crate) struct Environment {
    pub endpoint: String,
    pub cache_dir: PathBuf,
    pub token: Option<String>,
    /// Whether the network is never used.
    pub offline: bool,
    /// Whether the network is never used for data sets.
    pub sets_offline: bool,
    pub patience: Patience,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        Self::of(&|name| std::env::var(name).ok(), dirs::home_dir().as_deref())
    }

    /// Reads these variables for a user with this home folder.
    ///
    /// They are `HF_ENDPOINT`; `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` for the
    /// cache; `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN` for the
    /// token; `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_DATASETS_OFFLINE`; `HF_HUB_ETAG_TIMEOUT` and
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds. In paths `~`, `$NAME` and `${NAME}` are expanded.
    pub fn of(get: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Self {
        let given = |name: &str| get(name).filter(|value| !value.is_empty());
        let is_true =
            |value: String| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        let seconds = |name: &str| {
            let seconds = given(name)?.trim().parse().ok().filter(|&seconds: &u64| seconds > 0)?;
            Some(Duration::from_secs(seconds))
        };
        let path = |text: String| PathBuf::from(expanded(&text, get, home));
        let hf_home = get("HF_HOME").map(path).unwrap_or_else(|| {
            let caches = get("XDG_CACHE_HOME").unwrap_or_else(|| "~/.cache".to_string());
            path(caches).join("huggingface")
        });
        let cache_dir = get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE")).map(path);
        let clean = |token: String| {
            let token = token.replace(['\r', '\n'], "").trim().to_string();
            (!token.is_empty()).then_some(token)
        };
        let token_file = get("HF_TOKEN_PATH").map(path).unwrap_or_else(|| hf_home.join("token"));
        let token = given("HF_TOKEN").or_else(|| given("HUGGING_FACE_HUB_TOKEN")).and_then(clean);
        let token = token.or_else(|| std::fs::read_to_string(token_file).ok().and_then(clean));
        let without_token = given("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(is_true);
        let offline = given("HF_HUB_OFFLINE").or_else(|| given("TRANSFORMERS_OFFLINE"));
        let default = Patience::default();
        Self {
            endpoint: given("HF_ENDPOINT").unwrap_or_else(|| HUB.to_string()),
            cache_dir: cache_dir.unwrap_or_else(|| hf_home.join("hub")),
            token: token.filter(|_| !without_token),
            offline: offline.is_some_and(is_true),
            sets_offline: get("HF_DATASETS_OFFLINE").is_some_and(is_true),
            patience: Patience {
                answer: seconds("HF_HUB_ETAG_TIMEOUT").unwrap_or(default.answer),
                bytes: seconds("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(default.bytes),
            },
        }
    }
}

/// Expands `~` in a path to the home folder, and `$NAME` and `${NAME}` to the values of variables; unknown
/// names stay as they are.
fn expanded(path: &str, get: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> String {
    let path = match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(['/', '\\']) => {
            format!("{}{rest}", home.to_string_lossy().trim_end_matches('/'))
        }
        _ => path.to_string(),
    };
    let (mut expanded, mut rest) = (String::new(), path.as_str());
    while let Some((before, after)) = rest.split_once('$') {
        expanded += before;
        let (name, end) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match get(name).filter(|_| !name.is_empty()) {
            Some(value) => expanded += &value,
            None => {
                expanded.push('$');
                expanded += &after[..end];
            }
        }
        rest = &after[end..];
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn of(variables: &[(&str, &str)]) -> Environment {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        Environment::of(&get, Some(Path::new("/home/me")))
    }

    #[test]
    #[cfg(unix)]
    fn the_cache_is_where_python_has_it() {
        for (variables, expected) in [
            (&[][..], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")], "/hf/hub"),
            (&[("HF_HOME", "~/hf")], "/home/me/hf/hub"),
            (&[("HF_HOME", "~")], "/home/me/hub"),
            (&[("HF_HOME", "~other/hf")], "~other/hf/hub"),
            (&[("HF_HOME", "$DISK/hf"), ("DISK", "/disk")], "/disk/hf/hub"),
            (&[("HF_HOME", "/a/${DISK}s/$NONE/${NONE}"), ("DISK", "d")], "/a/ds/$NONE/${NONE}/hub"),
            (&[("HF_HUB_CACHE", "~/cache"), ("HF_HOME", "/hf")], "/home/me/cache"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")], "/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
        ] {
            assert_eq!(of(variables).cache_dir, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn offline_has_several_names() {
        for (variables, all, sets) in [
            (&[][..], false, false),
            (&[("HF_HUB_OFFLINE", "1")], true, false),
            (&[("HF_HUB_OFFLINE", "yes")], true, false),
            (&[("HF_HUB_OFFLINE", "2")], false, false),
            (&[("TRANSFORMERS_OFFLINE", "on")], true, false),
            (&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], false, false),
            (&[("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "TRUE")], true, false),
            (&[("HF_DATASETS_OFFLINE", "1")], false, true),
            (&[("HF_DATASETS_OFFLINE", "0"), ("HF_HUB_OFFLINE", "1")], true, false),
        ] {
            let found = of(variables);
            assert_eq!((found.offline, found.sets_offline), (all, sets), "{variables:?}");
        }
    }

    #[test]
    fn address_token_and_patience() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, " hf_other \r\n").unwrap();
        let stored = ("HF_HOME", home);
        for (variables, expected) in [
            (&[("HF_HOME", "/nowhere")][..], None),
            (&[stored], Some("hf_stored")),
            (&[stored, ("HF_TOKEN_PATH", other.to_str().unwrap())], Some("hf_other")),
            (&[stored, ("HF_TOKEN", " hf_given\n")], Some("hf_given")),
            (&[stored, ("HUGGING_FACE_HUB_TOKEN", "hf_old")], Some("hf_old")),
            (&[stored, ("HF_TOKEN", "new"), ("HUGGING_FACE_HUB_TOKEN", "old")], Some("new")),
            (&[stored, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
            (&[stored, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")], Some("hf_stored")),
        ] {
            assert_eq!(of(variables).token.as_deref(), expected, "{variables:?}");
        }
        assert_eq!(of(&[]).endpoint, "https://huggingface.co");
        assert_eq!(of(&[("HF_ENDPOINT", "")]).endpoint, "https://huggingface.co");
        assert_eq!(of(&[("HF_ENDPOINT", "http://mirror")]).endpoint, "http://mirror");
        let patience = |answer, bytes| Patience {
            answer: Duration::from_secs(answer),
            bytes: Duration::from_secs(bytes),
        };
        assert_eq!(of(&[]).patience, patience(10, 30));
        let set = of(&[("HF_HUB_ETAG_TIMEOUT", "3"), ("HF_HUB_DOWNLOAD_TIMEOUT", "500")]);
        assert_eq!(set.patience, patience(3, 500));
        assert_eq!(of(&[("HF_HUB_ETAG_TIMEOUT", "0")]).patience, patience(10, 30));
    }
    /// Compares the settings for all variables, one by one and in pairs, with those that `huggingface_hub`
    /// itself reads, if it is installed.
    #[test]
    #[cfg(unix)]
    fn python_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "hf_stored\n").unwrap();
        let settings = [
            ("HF_HOME", home),
            ("HF_HOME", "~/hf"),
            ("HF_HOME", "$DISK/${DISK}"),
            ("HF_HOME", "relative/$NONE"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("HF_HUB_CACHE", "~/cache/$DISK"),
            ("HUGGINGFACE_HUB_CACHE", "/old"),
            ("HF_HUB_OFFLINE", "1"),
            ("HF_HUB_OFFLINE", "off"),
            ("TRANSFORMERS_OFFLINE", "yes"),
            ("HF_TOKEN", " hf_given\n"),
            ("HF_TOKEN", ""),
            ("HUGGING_FACE_HUB_TOKEN", "hf_old"),
            ("HF_TOKEN_PATH", token.to_str().unwrap()),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true"),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0"),
            ("HF_ENDPOINT", "http://mirror"),
            ("HF_HUB_ETAG_TIMEOUT", "7"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "9"),
        ];
        let disk = ("DISK", "/disk");
        let mut all = vec![vec![disk]];
        for (i, first) in settings.into_iter().enumerate() {
            all.push(vec![disk, first]);
            let others = settings[i + 1..].iter().filter(|second| second.0 != first.0);
            all.extend(others.map(|&second| vec![disk, first, second]));
        }
        let maps: Vec<serde_json::Map<_, _>> = all
            .iter()
            .map(|one| one.iter().map(|&(name, value)| (name.to_string(), value.into())).collect())
            .collect();
        let program = "
import importlib, json, os, sys
import huggingface_hub.constants as c, huggingface_hub.utils._headers as h
found = []
for variables in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(variables, HOME='/home/me')
    importlib.reload(c)
    token = h.get_token_to_send(None)
    found.append([c.HF_HUB_CACHE, c.HF_HUB_OFFLINE, c.ENDPOINT, c.HF_HUB_ETAG_TIMEOUT, c.HF_HUB_DOWNLOAD_TIMEOUT, token])
print(json.dumps(found))";
        let python = |program: &str| {
            let mut python = Command::new("python3");
            python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
            python
        };
        let installed = python("from huggingface_hub.utils._headers import get_token_to_send");
        if !{ installed }.status().is_ok_and(|status| status.success()) {
            println!("skipped: there is no Python with huggingface_hub");
            return;
        }
        let mut child = python(program).spawn().unwrap();
        let text = serde_json::to_string(&maps).unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found.len(), all.len());
        for (variables, python) in all.iter().zip(found) {
            let own = of(variables);
            // Without the variable, our default is longer.
            let is_set = variables.iter().any(|(name, _)| *name == "HF_HUB_DOWNLOAD_TIMEOUT");
            let bytes = if is_set { own.patience.bytes.as_secs() } else { 10 };
            let own = serde_json::json!([
                own.cache_dir,
                own.offline,
                own.endpoint,
                own.patience.answer.as_secs(),
                bytes,
                own.token
            ]);
            assert_eq!(own, python, "{variables:?}");
        }
    }
}
