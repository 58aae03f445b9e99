// SwiftPM wants one source file in a C target; everything in this target is in its headers.
