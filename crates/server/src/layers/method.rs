//! Which method a call is for: a closed set, so that no client can make up labels.

/// What paths of administration begin with.
const ADMIN: &str = "/millpond.admin.v1.Admin/";

/// A service and a method of it, as metrics and logs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Method {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
}

/// What a method is for, as far as it matters when there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Look-ups and reads: they can be answered with a miss.
    Pull,
    /// Other questions.
    Probe,
    /// Blobs.
    Upload,
    /// Names.
    Name,
}

impl Method {
    /// The method of a request's path.
    pub(crate) fn of(path: &str) -> Self {
        let (service, name) = match path {
            "/build.bazel.remote.asset.v1.Fetch/FetchBlob" => ("Fetch", "FetchBlob"),
            "/build.bazel.remote.asset.v1.Fetch/FetchDirectory" => ("Fetch", "FetchDirectory"),
            "/build.bazel.remote.asset.v1.Push/PushBlob" => ("Push", "PushBlob"),
            "/build.bazel.remote.asset.v1.Push/PushDirectory" => ("Push", "PushDirectory"),
            "/build.bazel.remote.execution.v2.ActionCache/GetActionResult" => {
                ("ActionCache", "GetActionResult")
            }
            "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult" => {
                ("ActionCache", "UpdateActionResult")
            }
            "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities" => {
                ("Capabilities", "GetCapabilities")
            }
            _ => return Self::of_storage(path),
        };
        Self { service, name }
    }

    /// Whether a request may have many messages: those of ByteStream.Write, and of what we do not know.
    pub(crate) fn takes_many(self) -> bool {
        matches!(self.name, "Write" | "other")
    }

    /// What it is for.
    pub(crate) fn nature(self) -> Nature {
        match self.name {
            "FetchBlob" | "FetchDirectory" | "GetActionResult" | "GetReference" | "BatchReadBlobs"
            | "GetTree" | "Read" | "QueryWriteStatus" => Nature::Pull,
            "BatchUpdateBlobs" | "Write" => Nature::Upload,
            "PushBlob" | "PushDirectory" | "UpdateActionResult" | "UpdateReference" => Nature::Name,
            _ => Nature::Probe,
        }
    }

    fn of_storage(path: &str) -> Self {
        const CAS: &str = "ContentAddressableStorage";
        let (service, name) = match path {
            "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs" => {
                (CAS, "FindMissingBlobs")
            }
            "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs" => {
                (CAS, "BatchUpdateBlobs")
            }
            "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs" => {
                (CAS, "BatchReadBlobs")
            }
            "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree" => (CAS, "GetTree"),
            "/buildstream.v2.ReferenceStorage/GetReference" => ("ReferenceStorage", "GetReference"),
            "/buildstream.v2.ReferenceStorage/Status" => ("ReferenceStorage", "Status"),
            "/buildstream.v2.ReferenceStorage/UpdateReference" => ("ReferenceStorage", "UpdateReference"),
            "/google.bytestream.ByteStream/QueryWriteStatus" => ("ByteStream", "QueryWriteStatus"),
            "/google.bytestream.ByteStream/Read" => ("ByteStream", "Read"),
            "/google.bytestream.ByteStream/Write" => ("ByteStream", "Write"),
            _ if path.starts_with(ADMIN) => return Self::of_administration(path),
            "/grpc.health.v1.Health/Check" => ("Health", "Check"),
            "/grpc.health.v1.Health/Watch" => ("Health", "Watch"),
            _ => ("other", "other"),
        };
        Self { service, name }
    }

    fn of_administration(path: &str) -> Self {
        let name = match path.strip_prefix(ADMIN) {
            Some("GetStatus") => "GetStatus",
            Some("BackUp") => "BackUp",
            Some("BringFromBackup") => "BringFromBackup",
            Some("GetUsage") => "GetUsage",
            Some("GetWaterline") => "GetWaterline",
            Some("PlanRetention") => "PlanRetention",
            Some("Relevel") => "Relevel",
            Some("Check") => "Check",
            Some("Import") => "Import",
            Some("Copy") => "Copy",
            Some("Compare") => "Compare",
            Some("ReadBlob") => "ReadBlob",
            Some("ListDirectory") => "ListDirectory",
            Some("ListNames") => "ListNames",
            Some("RemoveNames") => "RemoveNames",
            Some("RestoreNames") => "RestoreNames",
            Some("ShowNames") => "ShowNames",
            Some("PinNames") => "PinNames",
            Some("UnpinNames") => "UnpinNames",
            Some("ListPins") => "ListPins",
            Some("SetLogFilter") => "SetLogFilter",
            Some("ReloadConfiguration") => "ReloadConfiguration",
            _ => return Self { service: "other", name: "other" },
        };
        Self { service: "Admin", name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_proto::{ADMIN_FILE_DESCRIPTOR_SET, FILE_DESCRIPTOR_SET};
    use prost::Message;
    use prost_types::FileDescriptorSet;

    #[test]
    fn every_method_that_is_served_is_known() {
        let sets = [FILE_DESCRIPTOR_SET, ADMIN_FILE_DESCRIPTOR_SET];
        let files = sets.map(|set| FileDescriptorSet::decode(set).unwrap().file);
        let mut count = 0;
        for file in files.iter().flatten() {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let known = Method::of(&path);
                    assert_eq!((known.service, known.name), (service.name(), method.name()), "{path}");
                    count += 1;
                }
            }
        }
        assert_eq!(count, 39);
        assert_eq!(Method::of("/made/up").name, "other");
    }
}
