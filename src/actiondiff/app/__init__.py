"""The page: drop a video, see what, when and where, take the exports away. Needs the extra `app`."""
