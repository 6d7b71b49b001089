"""Pictures: the digits that come with scikit-learn, folders of files, and IDX files."""
