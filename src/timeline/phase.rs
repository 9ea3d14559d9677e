//! The phases of a command.

macro_rules! phases {
    ($($(#[$doc:meta])* $name:ident $words:literal,)+) => {
        /// What a process is doing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Phase {
            $($(#[$doc])* $name,)+
        }

        impl Phase {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the name that users see.
            pub(crate) fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)+
                }
            }
        }
    };
}

phases! {
    Begin "begin",
    // Phases of the runtime.
    ReadBundle "read and check the bundle",
    MakePlan "make the plan",
    ReserveId "reserve the id",
    MakeCgroup "make the cgroup",
    SetLimits "set the limits",
    OpenForInit "open what the process needs",
    Clone "clone the process",
    ServeInit "serve the process until it is ready",
    RunHooks "run hooks",
    WriteRecord "write the record",
    Start "start the program",
    /// Only for a command that stays in the foreground.
    WaitForProgram "the program runs",
    ReadRecord "read the record",
    Kill "end the processes",
    RemoveCgroup "remove the cgroup",
    RemoveRecord "remove the record",
    Finish "finish",
    // Phases of the container's process.
    EnterNamespaces "enter cgroup and namespaces",
    PrepareRoot "prepare the root",
    Mount "mount",
    MakeDevices "make devices",
    CreateHooks "hooks before the change of root",
    PivotRoot "change the root",
    SetNamesAndSysctls "terminal, names and sysctls",
    MaskPaths "mask paths",
    LateReadOnly "make mounts read-only",
    Confine "confine the process",
    WaitForStart "wait for the start",
    Execute "execute the program",
}
