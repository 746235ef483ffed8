/** The instance that `forRoot` makes when it is given no name. */
export const defaultInstance = 'default';
