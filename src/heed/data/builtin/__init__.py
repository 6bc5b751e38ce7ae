"""Built-in corpora: seeded generators of translation, sentiment, summarization and QA examples."""
