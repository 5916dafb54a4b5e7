"""The operator's pages over all tables: Piccolo Admin, made from the tables and nothing else."""
