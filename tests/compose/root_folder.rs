//! The files of an image, made from programs of this machine. Owns a folder that is the root of a container: programs with their
//! libraries, users and scripts. Used by `images`.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct RootFolder {
    folder: PathBuf,
}

impl RootFolder {
    /// A root with a folder for temporary files and these users, as lines of `/etc/passwd`.
    pub fn new(folder: PathBuf, users: &[&str]) -> Self {
        let root = Self { folder };
        std::fs::create_dir_all(root.place("/tmp")).unwrap();
        std::fs::set_permissions(root.place("/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        let users = users.iter().map(|user| format!("{user}\n")).collect::<String>();
        root.file("/etc/passwd", &format!("root:x:0:0:root:/root:/sbin/nologin\n{users}"), 0o644);
        root
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Adds programs of this machine, under their names, with the libraries that they need.
    pub fn programs(self, folder: &str, names: &[&str]) -> Self {
        for name in names {
            let program = find(name);
            self.copy(&program, &format!("{folder}/{name}"));
            self.libraries_of(&program);
        }
        self
    }

    /// Adds the libraries of a program, but not the program.
    pub fn libraries_of(&self, program: &Path) {
        let list = Command::new("ldd").arg(program).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
            if !self.place(library).exists() {
                self.copy(Path::new(library), library);
            }
        }
    }

    /// Adds a shell, as `/bin/sh`, and `kill`.
    pub fn shell(self) -> Self {
        let root = self.programs("/bin", &["dash", "kill"]);
        symlink("dash", root.place("/bin/sh")).unwrap();
        root
    }

    /// Adds a script.
    pub fn script(self, path: &str, text: &str) -> Self {
        self.file(path, text, 0o755);
        self
    }

    /// Adds an empty folder of a user.
    pub fn folder_of(self, path: &str, user: u32, group: u32) -> Self {
        std::fs::create_dir_all(self.place(path)).unwrap();
        chown(self.place(path), Some(user), Some(group)).unwrap();
        self
    }

    fn place(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    fn file(&self, path: &str, text: &str, mode: u32) {
        let place = self.place(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, text).unwrap();
        std::fs::set_permissions(place, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn copy(&self, from: &Path, to: &str) {
        let place = self.place(to);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(from, place).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
}

/// Where a program of this machine is.
fn find(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; tests/run installs it"))
}
