"""Series that a job reads beside its own. A table of its own: the running release goes on without it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('job_companion',
    sa.Column('job_id', sa.String(length=40), nullable=False),
    sa.Column('series_id', sa.String(length=40), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['job.id'], name=op.f('fk_job_companion_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'series_id', name=op.f('pk_job_companion'))
    )
    with op.batch_alter_table('job_companion', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_job_companion_series_id'), ['series_id'], unique=False)


def downgrade() -> None:
    op.drop_table('job_companion')
